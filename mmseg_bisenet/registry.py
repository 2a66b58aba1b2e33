"""Children of MMSegmentation's registries, under the scope ``mmseg_bisenet``.

A config names our classes as ``mmseg_bisenet.BiSeNetV2``, and stock classes as before: a child registry also finds the
names of its parent. No stock name is replaced.
"""

from mmengine.registry import Registry
from mmseg import registry as mmseg

SCOPE = 'mmseg_bisenet'


def _child(parent: Registry, *locations: str) -> Registry:
    # Names of the parent are found only if the parent's modules are imported, and it does not import them for a child.
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=[*locations, *parent._locations])


MODELS = _child(mmseg.MODELS, 'mmseg_bisenet.models')
DATASETS = _child(mmseg.DATASETS, 'mmseg_bisenet.data')
TRANSFORMS = _child(mmseg.TRANSFORMS, 'mmseg_bisenet.data')
DATA_SAMPLERS = _child(mmseg.DATA_SAMPLERS, 'mmseg_bisenet.engine')
LOOPS = _child(mmseg.LOOPS, 'mmseg_bisenet.engine')
HOOKS = _child(mmseg.HOOKS, 'mmseg_bisenet.engine', 'mmseg_bisenet.evaluation')
METRICS = _child(mmseg.METRICS, 'mmseg_bisenet.evaluation')
OPTIM_WRAPPERS = _child(mmseg.OPTIM_WRAPPERS, 'mmseg_bisenet.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(mmseg.OPTIM_WRAPPER_CONSTRUCTORS, 'mmseg_bisenet.engine')
# A config that is inherited as `mmseg_bisenet::…` has this scope everywhere, in kinds that we add nothing to as well.
OTHERS = [_child(getattr(mmseg, name)) for name in mmseg.__all__ if name not in globals()]
