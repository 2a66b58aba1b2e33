"""The results of a test as one HTML page (``mmseg-bisenet report``). Imports neither PyTorch nor MMSegmentation."""
