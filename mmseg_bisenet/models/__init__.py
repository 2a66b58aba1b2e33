"""BiSeNet V1 and V2 for MMSegmentation. Importing this package registers the classes below.

- V1: Yu et al., BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation, ECCV 2018,
  arXiv 1808.00897. ``bisenetv1/``: spatial path, context path with its attention refinement module (ARM), feature
  fusion module (FFM), and the Xception39 classification network.
- V2: Yu et al., BiSeNet V2: Bilateral Network with Guided Aggregation for Real-time Semantic Segmentation, IJCV 2021,
  arXiv 2004.02147. ``bisenetv2/``: detail branch; semantic branch with its stem block, gather-and-expansion layer (GE)
  and context embedding block (CE); bilateral guided aggregation (BGA).

``head.py`` has the segmentation head and the boosters, ``segmentor.py`` the whole model, ``losses/`` cross entropy and
online hard example mining (OHEM), ``inference/`` everything that only prediction needs.
"""

from mmseg_bisenet.models.bisenetv1 import BiSeNetV1, ResNetVd, Xception39
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
    'ResNetVd',
    'Xception39',
    'ohem_cross_entropy',
]
