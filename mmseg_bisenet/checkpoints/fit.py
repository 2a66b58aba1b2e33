"""Whether a state dict fits a network, and what is wrong if it doesn't."""

import warnings
from collections.abc import Collection
from contextlib import suppress

import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmseg_bisenet.config_errors import building
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.registry import MODELS

AUXILIARY = 'auxiliary_head.'


def build_model(model: ConfigDict, scope: str = 'mmseg') -> nn.Module:
    """The network that the ``model`` of a config describes, with random weights.

    Raises:
        InputError: it cannot be built.
    """
    with building('model', dict(model=model)), DefaultScope.overwrite_default_scope(scope), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of losses, which do not matter here
        built = MODELS.build(model)
        require_outputs(built)
        return built


def require_outputs(model: nn.Module) -> None:
    """Refuse heads that read an output that the backbone of a network does not have.

    Raises:
        InputError: it names the head.
    """
    outputs = getattr(getattr(model, 'backbone', None), 'out_indices', None)
    if outputs is None or getattr(model, 'neck', None) is not None:
        return
    for name, head in model.named_modules():
        index = getattr(head, 'in_index', None)
        for number in index if isinstance(index, list | tuple) else [index] if isinstance(index, int) else []:
            if not -len(outputs) <= number < len(outputs):
                raise InputError(
                    f'config: model.{name}.in_index is {index}, and the backbone has {len(outputs)} outputs; give 0 to '
                    f'{len(outputs) - 1}'
                )


def own_tensors(model: ConfigDict, scope: str = 'mmseg') -> dict[str, Tensor]:
    """The state dict of the same network, for its names, shapes and types; on the meta device, if it can be built so.

    Raises:
        InputError: it cannot be built.
    """
    with suppress(InputError), torch.device('meta'):  # no memory, and no time for random weights
        return build_model(model, scope).state_dict()
    return build_model(model, scope).state_dict()  # it reads values while it is built


def without_boosters(given: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """``given`` without its auxiliary heads, if the network of ``own`` has none."""
    if any(key.startswith(AUXILIARY) for key in own):
        return given
    return {key: value for key, value in given.items() if not key.startswith(AUXILIARY)}


def classifiers_of_others(given: dict[str, Tensor], own: dict[str, Tensor]) -> list[str]:
    """Keys of the classifiers whose shapes differ only in the number of classes."""
    shapes = {key: (given[key].shape, own[key].shape) for key in own if '.conv_seg.' in key and key in given}
    return [key for key, (got, want) in shapes.items() if got != want and got[1:] == want[1:]]


def completed(given: dict[str, Tensor], own: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """What a network starts from: the tensors of ``given`` that fit, and its ``own`` where there are none.

    Returns:
        The state dict, and the keys that are its own, for :func:`mmseg_bisenet.checkpoints.files.listed`.
    """
    others = classifiers_of_others(given, own)
    anew = {'of another number of classes': others, 'not in the checkpoint': [key for key in own if key not in given]}
    return {**own, **{key: value for key, value in given.items() if key in own and key not in others}}, anew


def mismatches(given: dict[str, Tensor], own: dict[str, Tensor], but: Collection[str] = ()) -> dict[str, list[str]]:
    """Why ``given`` cannot be loaded into the network of ``own``, by kind of fault.

    Args:
        given: of the checkpoint.
        own: of the network.
        but: keys that may differ in shape.

    Returns:
        For :func:`mmseg_bisenet.checkpoints.files.listed`.
    """
    return {
        'missing': [key for key in own if key not in given],
        'unexpected': [key for key in given if key not in own],
        'of another shape': [
            f'{key} {tuple(given[key].shape)} instead of {tuple(value.shape)}'
            for key, value in own.items()
            if key in given and key not in but and given[key].shape != value.shape
        ],
        'of another type': [
            f'{key} {given[key].dtype} instead of {value.dtype}'
            for key, value in own.items()
            if key in given and given[key].is_floating_point() != value.is_floating_point()
        ],
    }
