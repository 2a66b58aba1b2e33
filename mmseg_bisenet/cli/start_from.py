"""What a training starts from: ``train --from``, or ``load_from`` of the config."""

from pathlib import Path

from mmengine.config import Config
from torch import Tensor

from mmseg_bisenet import model_index
from mmseg_bisenet.checkpoints.fetching import fetch
from mmseg_bisenet.checkpoints.files import listed, read
from mmseg_bisenet.checkpoints.fit import (
    AUXILIARY,
    classifiers_of_others,
    has_boosters,
    mismatches,
    own_tensors,
    without_boosters,
)
from mmseg_bisenet.errors import InputError


def read_load_from(cfg: Config, option: str = 'load_from') -> dict[str, Tensor] | None:
    """Read the checkpoint that a training starts from, and refuse one of another network.

    MMEngine would train from random weights. Classifiers of ``load_from`` may have another number of classes, and it
    may lack auxiliary heads; these start anew.

    Args:
        cfg: ``cfg.load_from`` is a file, a URL, or a name of the model index. It becomes the path of the file.
        option: that gave it, for the message.

    Returns:
        The state dict; None if the config has no ``load_from``.

    Raises:
        InputError: there is no such file or name, or it cannot be read; or it lists tensors that are missing,
            unexpected or of another shape.
    """
    if not cfg.get('load_from'):
        return None
    cfg.load_from = fetch(_weights(str(cfg.load_from), option))
    given = read(cfg.load_from).state_dict
    # The Runner builds its own later, because its weights depend on the seed.
    own = own_tensors(cfg.model, cfg.get('default_scope', 'mmseg'))
    if not has_boosters(given):
        own = {key: value for key, value in own.items() if not key.startswith(AUXILIARY)}
    given = without_boosters(given, own)
    if text := listed(mismatches(given, own, but=classifiers_of_others(given, own))):
        raise InputError(
            f'{option}: checkpoint {cfg.load_from} is not of this config: {text}; give one of this network (if it is '
            f'of another codebase, after mmseg-bisenet convert), or leave {option} out'
        )
    return given


def _weights(source: str, option: str) -> str:
    """Path or URL of a checkpoint, which may be given as a name of the model index."""
    if Path(source).is_file() or '://' in source:
        return source
    entries = model_index.entries()
    if entry := entries.get(model_index.today(source)):
        return str(model_index.weights(entry))
    names = [name for name, entry in entries.items() if entry.weights]
    raise InputError(
        f'{option} {source} is neither a file nor a model with weights; the nearest names are '
        f'{model_index.nearest(source, names)}'
    )
