"""BiSeNet V1 and V2 for MMSegmentation 1.x.

Importing the package fixes the installed OpenMMLab stack (:mod:`mmseg_bisenet.compat`), and imports neither PyTorch nor
the stack. The networks register themselves when a config first names one, the loader of ``.safetensors`` files when
MMEngine's runner is imported. :class:`Predictor`, :func:`list_models` and :func:`get_model` are imported at their first
use, because MMSegmentation takes seconds to import.
"""

from typing import TYPE_CHECKING, Any

from mmseg_bisenet import compat

if TYPE_CHECKING:
    from mmseg_bisenet.model_index import list_models
    from mmseg_bisenet.predict import Predictor
    from mmseg_bisenet.zoo import get_model

__version__ = '0.1.0'
__all__ = ['Predictor', 'get_model', 'list_models']


def _read_safetensors() -> None:
    """Register the loader with which MMEngine's own functions read such files; its prefixes are regular expressions."""
    from mmengine.runner import CheckpointLoader

    @CheckpointLoader.register_scheme(prefixes=r'.*\.safetensors$')
    def load_from_safetensors(filename: str, map_location: Any) -> dict:
        from mmseg_bisenet.checkpoints.files import load_from_safetensors as load  # imports the stack

        return load(filename, map_location)


compat.prepare()
compat.after_import('mmengine.runner', _read_safetensors)


def __getattr__(name: str) -> Any:
    if name == 'list_models':
        from mmseg_bisenet.model_index import list_models

        return list_models
    if name == 'Predictor':
        from mmseg_bisenet import install

        with install.needing('openmmlab', 'Predictor'):
            from mmseg_bisenet.predict import Predictor

        return Predictor
    if name == 'get_model':
        from mmseg_bisenet import install

        with install.needing('openmmlab', 'get_model'):
            from mmseg_bisenet.zoo import get_model

        return get_model
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
