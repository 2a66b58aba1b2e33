"""Whether a state dict fits a network, and what is wrong with it where it doesn't."""

import warnings
from collections.abc import Collection

from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from torch import Tensor

from mmseg_bisenet.registry import MODELS

AUXILIARY = 'auxiliary_head.'


def build_state_dict(model: ConfigDict, scope: str = 'mmseg') -> dict[str, Tensor]:
    """The state dict of the network that the ``model`` of a config describes."""
    with DefaultScope.overwrite_default_scope(scope), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of losses, which don't matter here
        return MODELS.build(model).state_dict()


def without_boosters(given: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """``given``, less its auxiliary heads where the network of ``own`` has none."""
    if any(key.startswith(AUXILIARY) for key in own):
        return given
    return {key: value for key, value in given.items() if not key.startswith(AUXILIARY)}


def classifiers_of_others(given: dict[str, Tensor], own: dict[str, Tensor]) -> list[str]:
    """Keys of the classifiers whose shape differs in nothing but the number of classes."""
    shapes = {key: (given[key].shape, own[key].shape) for key in own if '.conv_seg.' in key and key in given}
    return [key for key, (got, want) in shapes.items() if got != want and got[1:] == want[1:]]


def misfits(given: dict[str, Tensor], own: dict[str, Tensor], but: Collection[str] = ()) -> dict[str, list[str]]:
    """What keeps ``given`` from being loaded into the network of ``own``, by kind of fault; keys in ``but`` may differ
    in shape. For :func:`mmseg_bisenet.checkpoints.files.listed`."""
    return {
        'missing': [key for key in own if key not in given],
        'unexpected': [key for key in given if key not in own],
        'of another shape': [
            f'{key} {tuple(given[key].shape)} instead of {tuple(value.shape)}'
            for key, value in own.items()
            if key in given and key not in but and given[key].shape != value.shape
        ],
    }
