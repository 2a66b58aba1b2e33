"""BiSeNet V2 (arXiv 2004.02147)."""

from mmseg_bisenet.models.bisenetv2.backbone import BiSeNetV2

__all__ = ['BiSeNetV2']
