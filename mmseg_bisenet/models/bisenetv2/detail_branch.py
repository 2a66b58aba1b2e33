"""Detail branch of BiSeNet V2 (arXiv 2004.02147, section 4.1, figure 3, table 1): wide and shallow, to 1/8 size."""

from collections.abc import Sequence

from torch import Tensor, nn

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.conv import ConvNormAct


class DetailBranch(nn.Module):
    """x: (N, in_channels, H, W) -> (N, channels[2], H/8, W/8); sizes round up."""

    def __init__(self, conv: ConvNormAct, in_channels: int, channels: Sequence[int]) -> None:
        super().__init__()
        if len(channels) != 3:
            raise InputError(f'BiSeNetV2: detail_channels={tuple(channels)} must be the widths of 3 stages')
        self.detail_branch = nn.ModuleList()
        for width, repeats in zip(channels, (1, 2, 2), strict=True):
            self.detail_branch.append(
                nn.Sequential(conv(in_channels, width, 3, stride=2), *(conv(width, width, 3) for _ in range(repeats)))
            )
            in_channels = width

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.detail_branch:
            x = stage(x)
        return x
