"""Our networks under the stock names, for stock configs.

A config of two lines trains a stock recipe with the corrected networks::

    _base_ = 'mmseg::bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py'
    custom_imports = dict(imports=['mmseg_bisenet.dropin'], allow_failed_imports=False)

With the OneDL line, ``_base_`` is the path of the stock file. Importing this module replaces ``BiSeNetV1`` and
``BiSeNetV2`` in MMSegmentation's registry, for the whole process.
"""

from typing import Any

import mmseg.models  # noqa: F401  stock classes cannot be registered after ours
from mmseg.registry import MODELS

from mmseg_bisenet.models import BiSeNetV1, BiSeNetV2
from mmseg_bisenet.models.inference import tiling

# Stock configs set SyncBN in their heads and in V1's ResNet only: the stock backbones ignore it elsewhere.
SYNC_BN = dict(type='SyncBN', requires_grad=True)


@MODELS.register_module(name='BiSeNetV1', force=True)
def bisenetv1(norm_cfg: dict = SYNC_BN, **cfg: Any) -> BiSeNetV1:
    return tiling.enable(BiSeNetV1(norm_cfg=norm_cfg, **cfg))


@MODELS.register_module(name='BiSeNetV2', force=True)
def bisenetv2(norm_cfg: dict = SYNC_BN, **cfg: Any) -> BiSeNetV2:
    return tiling.enable(BiSeNetV2(norm_cfg=norm_cfg, **cfg))
