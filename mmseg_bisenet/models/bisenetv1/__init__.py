"""BiSeNet V1 (arXiv 1808.00897)."""

from mmseg_bisenet.models.bisenetv1.backbone import BiSeNetV1
from mmseg_bisenet.models.bisenetv1.resnet_vd import ResNetVd
from mmseg_bisenet.models.bisenetv1.xception import Xception39

__all__ = ['BiSeNetV1', 'ResNetVd', 'Xception39']
