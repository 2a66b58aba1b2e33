"""One HTML page of what a test left in a work dir: ``mmseg-bisenet report``. No network, no framework is imported."""
