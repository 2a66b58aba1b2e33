"""Losses of both networks, from logits at the network's own resolution.

- ``cross_entropy``: the registered losses, cross entropy and online hard example mining (OHEM) with its ``threshold``.
- ``pixel_cross_entropy``: the loss of each pixel, computed without the upsampled logits.
"""
