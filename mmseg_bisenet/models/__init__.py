"""Networks, heads, loss and segmentor. Importing it registers them."""

from mmseg_bisenet.models.bisenetv1 import BiSeNetV1, Xception39
from mmseg_bisenet.models.bisenetv2 import BiSeNetV2
from mmseg_bisenet.models.head import BiSeNetHead, BoosterHead
from mmseg_bisenet.models.inference.tta import BiSeNetTTA
from mmseg_bisenet.models.losses.cross_entropy import CrossEntropyLoss, OHEMCrossEntropyLoss, ohem_cross_entropy
from mmseg_bisenet.models.segmentor import BiSeNetSegmentor

__all__ = [
    'BiSeNetHead',
    'BiSeNetSegmentor',
    'BiSeNetTTA',
    'BiSeNetV1',
    'BiSeNetV2',
    'BoosterHead',
    'CrossEntropyLoss',
    'OHEMCrossEntropyLoss',
    'Xception39',
    'ohem_cross_entropy',
]
