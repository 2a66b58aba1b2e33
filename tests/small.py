"""The smallest segmentor, for tests that do not depend on the network: it is exported and compiled quickly."""

import copy

import torch
from torch import nn


class Eighth(nn.Module):
    """The smallest backbone: (N, 3, H, W) -> one map of 128 channels, of 1/8 of the size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 128, 9, stride=8, padding=4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.conv(x),)


def shrunk(segmentor: nn.Module) -> nn.Module:
    """A copy of a segmentor with a backbone of one convolution."""
    small = copy.deepcopy(segmentor)
    small.backbone = Eighth()
    return small
