"""Children of MMSegmentation's registries, under the scope ``mmseg_bisenet``.

A config names our classes as ``mmseg_bisenet.BiSeNetV2``, and stock classes as before: a child registry also finds the
names of its parent. No stock name is replaced.
"""

from mmengine.registry import Registry
from mmseg import registry as mmseg

SCOPE = 'mmseg_bisenet'

MODELS = Registry('model', parent=mmseg.MODELS, scope=SCOPE, locations=['mmseg_bisenet.models'])
DATASETS = Registry('dataset', parent=mmseg.DATASETS, scope=SCOPE, locations=['mmseg_bisenet.data'])
TRANSFORMS = Registry('transform', parent=mmseg.TRANSFORMS, scope=SCOPE, locations=['mmseg_bisenet.data'])
DATA_SAMPLERS = Registry('data sampler', parent=mmseg.DATA_SAMPLERS, scope=SCOPE, locations=['mmseg_bisenet.engine'])
LOOPS = Registry('loop', parent=mmseg.LOOPS, scope=SCOPE, locations=['mmseg_bisenet.engine'])
HOOKS = Registry(
    'hook', parent=mmseg.HOOKS, scope=SCOPE, locations=['mmseg_bisenet.engine', 'mmseg_bisenet.evaluation']
)
METRICS = Registry('metric', parent=mmseg.METRICS, scope=SCOPE, locations=['mmseg_bisenet.evaluation'])
OPTIM_WRAPPERS = Registry('optim_wrapper', parent=mmseg.OPTIM_WRAPPERS, scope=SCOPE, locations=['mmseg_bisenet.engine'])
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=mmseg.OPTIM_WRAPPER_CONSTRUCTORS,
    scope=SCOPE,
    locations=['mmseg_bisenet.engine'],
)
