"""Children of MMSegmentation's registries, under the scope ``mmseg_bisenet``.

A config names our classes as ``mmseg_bisenet.BiSeNetV2`` and stock ones as before: a child registry asks its parent,
and no stock name is replaced.
"""

from mmengine.registry import Registry
from mmseg import registry as mmseg

SCOPE = 'mmseg_bisenet'

MODELS = Registry('model', parent=mmseg.MODELS, scope=SCOPE, locations=['mmseg_bisenet.models'])
DATASETS = Registry('dataset', parent=mmseg.DATASETS, scope=SCOPE, locations=['mmseg_bisenet.data'])
TRANSFORMS = Registry('transform', parent=mmseg.TRANSFORMS, scope=SCOPE, locations=['mmseg_bisenet.data'])
