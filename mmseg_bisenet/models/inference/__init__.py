"""How a trained network predicts in PyTorch.

- ``labels``: low-resolution logits to labels, equal to MMSegmentation's labels.
- ``protocols``: whole images, sliding windows, and the evaluation protocols of CoinCheung.
- ``tta``: test-time augmentation.
- ``tiling``: less memory on a CPU, by running the first layers on strips of rows.
- ``fold``: batch norm and image normalisation folded into the convolutions.
- ``upsample_argmax``: upsampling and argmax in one pass, for folded networks.
"""
