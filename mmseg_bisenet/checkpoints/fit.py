"""Whether a state dict fits a network, and what is wrong if it doesn't."""

import warnings
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from mmseg_bisenet.checkpoints.files import read
from mmseg_bisenet.config.errors import building, running
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.segmentor import BiSeNetSegmentor
from mmseg_bisenet.registry import MODELS

AUXILIARY = 'auxiliary_head.'
# The advice for a checkpoint that has none of a network's names.
CONVERT = 'mmseg-bisenet convert reads those of other codebases, and writes one that fits'


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


def require_channels(model: nn.Module) -> None:
    """Refuse parts of a BiSeNetSegmentor that do not take what the parts before them give: an image goes through all.

    Raises:
        InputError: it names the part.
    """
    if not isinstance(model, BiSeNetSegmentor):
        return
    was_training = model.training
    model.eval()  # it changes no statistics, and draws no random numbers
    try:
        with torch.no_grad():
            with running('model.backbone'):
                maps = model.backbone(torch.zeros(1, 3, 64, 64))
            if model.with_neck:
                with running('model.neck'):
                    maps = model.neck(maps)
            for name, head in model.named_modules():
                if isinstance(head, BaseDecodeHead):
                    with running(f'model.{name}'):
                        head(maps)
    finally:
        model.train(was_training)


def require_pretrained(model: nn.Module) -> None:
    """Refuse an ``init_cfg`` with a local file that has no tensor of its part: MMEngine only warns, and starts anew.

    Raises:
        InputError: it names the part and the file.
    """
    for name, module in model.named_modules():
        init = getattr(module, 'init_cfg', None)
        if not isinstance(init, dict) or init.get('type') != 'Pretrained' or not Path(init['checkpoint']).is_file():
            continue
        prefix = f'{init["prefix"].removesuffix(".")}.' if init.get('prefix') else ''  # as MMEngine
        given, own = read(init['checkpoint']).state_dict, module.state_dict()
        found = [key for key, value in own.items() if value.ndim and f'{prefix}{key}' in given]
        if not any(own[key].shape == given[f'{prefix}{key}'].shape for key in found):
            raise InputError(
                f'model.{name}.init_cfg takes no tensor from {init["checkpoint"]}: the names or the shapes '
                "differ; fix its checkpoint, or its prefix, as in prefix='backbone.'"
            )


def own_tensors(model: ConfigDict, scope: str = 'mmseg') -> dict[str, Tensor]:
    """The state dict of the same network, for its names, shapes and types; on the meta device, if it can be built so.

    Raises:
        InputError: it cannot be built.
    """
    with suppress(InputError), torch.device('meta'):  # no memory, and no time for random weights
        return build_model(model, scope).state_dict()
    return build_model(model, scope).state_dict()  # it reads values while it is built


def has_boosters(state_dict: dict[str, Tensor]) -> bool:
    return any(key.startswith(AUXILIARY) for key in state_dict)


def without_boosters(given: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """``given`` without its auxiliary heads, if the network of ``own`` has none."""
    if has_boosters(own):
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
