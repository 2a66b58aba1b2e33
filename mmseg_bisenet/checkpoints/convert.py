"""Convert a checkpoint of another codebase: find its layout, rename its keys, and find the config that fits."""

import copy
import fnmatch
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config, ConfigDict
from torch import Tensor

import mmseg_bisenet
from mmseg_bisenet import model_index
from mmseg_bisenet.checkpoints import coincheung, faceparsing, openmmlab, paddleseg, sane, torchseg
from mmseg_bisenet.checkpoints.files import Checkpoint, check_target, listed, read, require_names, some, write
from mmseg_bisenet.checkpoints.fit import AUXILIARY, has_boosters, own_tensors
from mmseg_bisenet.checkpoints.layout import Layout
from mmseg_bisenet.errors import InputError, require_flags, require_paths

LAYOUTS = tuple(
    layout for codebase in (openmmlab, coincheung, torchseg, faceparsing, paddleseg) for layout in codebase.LAYOUTS
)
SOURCES = tuple(dict.fromkeys(layout.source for layout in LAYOUTS))
CLASSIFIER = 'decode_head.conv_seg.weight'
UNKNOWN = 'unknown'


@dataclass(frozen=True)
class Converted:
    """What was written.

    ``config`` is the path of the config that fits; its number of classes, ``config_num_classes``, may differ from the
    checkpoint's ``num_classes``. ``dropped`` are the keys of the source that are for training only and were left out.
    """

    source: str
    network: str
    num_classes: int
    config: Path
    config_num_classes: int
    dropped: tuple[str, ...]


def convert(
    path: str | Path,
    target: str | Path,
    source: str | None = None,
    inference: bool = False,
    half: bool = False,
    overwrite: bool = False,
) -> Converted:
    """Convert the checkpoint ``path`` and write it to ``target``.

    Args:
        path: a ``.pth``, ``.safetensors`` or ``.pdparams`` file: a state dict, alone or inside a training checkpoint.
        target: a new file; its suffix, ``.pth`` or ``.safetensors``, gives the format. The file contains
            ``state_dict`` and ``meta``, with ``config``, ``num_classes``, ``source``, and the source's classes if any.
        source: one of ``SOURCES``; by default found by the keys.
        inference: leave the auxiliary heads out.
        half: store float16, which takes half the space; a network loads it as float32 again. Otherwise floating-point
            weights are stored as float32, whatever type they had.
        overwrite: whether ``target`` may be replaced.

    Raises:
        InputError: a file that cannot be read, or is of an unknown network; a key that is unknown or missing, a tensor
            of another shape or type. Nothing is written then.
    """
    require_flags(inference=inference, half=half)
    require_paths(path=path, target=target)
    check_target(Path(target), overwrite, inputs=[path])
    checkpoint = read(path)
    layout = detect(checkpoint.state_dict, source, path)
    names, dropped, strange = layout.rename(checkpoint.state_dict)
    state_dict = {ours: checkpoint.state_dict[theirs] for theirs, ours in names.items()}
    if layout.adapt:
        layout.adapt(state_dict)
    state_dict = {key: value.float() if value.is_floating_point() else value for key, value in state_dict.items()}
    originals = {key: key for key in state_dict} | {ours: theirs for theirs, ours in names.items()}
    config, faults = _best_config(layout, state_dict, originals, checkpoint.meta)
    faults[UNKNOWN] += strange
    if text := listed(faults):
        fix = 'give a checkpoint of exactly this network'
        if layout.source == 'openmmlab' and 'experiment_name' in checkpoint.meta:  # a Runner wrote it
            fix = 'a checkpoint of a network of your own needs no conversion: use it with the config that trained it'
        raise InputError(
            f'checkpoint {path} ({layout.network} of {layout.source}) does not fit {config.stem}: {text}; {fix}'
        )
    if inference:
        dropped += [originals[key] for key in state_dict if key.startswith(AUXILIARY)]
        state_dict = {key: value for key, value in state_dict.items() if not key.startswith(AUXILIARY)}
    if half:
        state_dict = {key: value.half() if value.is_floating_point() else value for key, value in state_dict.items()}
        if text := listed(sane.faults(state_dict)):
            raise InputError(f'checkpoint {path} in float16: {text}; convert it without --half')
    num_classes = len(state_dict[CLASSIFIER])
    require_names(checkpoint, num_classes, path)
    meta = dict(
        mmseg_bisenet_version=mmseg_bisenet.__version__,
        source=layout.source,
        config=config.stem,
        num_classes=num_classes,
    )
    if checkpoint.dataset_meta:
        meta['dataset_meta'] = checkpoint.dataset_meta
    write(target, Checkpoint(state_dict, meta), overwrite)
    return Converted(
        source=layout.source,
        network=layout.network,
        num_classes=num_classes,
        config=config,
        config_num_classes=_model(config).num_classes,
        dropped=tuple(dropped),
    )


def detect(keys: Iterable[str], source: str | None = None, path: str | Path = '') -> Layout:
    """The layout of a state dict with these keys.

    Raises:
        InputError: they are of no known layout, or of none of ``source``.
    """
    if source not in (None, *SOURCES):
        raise InputError(f'source={source!r} is not known; give one of {", ".join(SOURCES)}')
    keys = tuple(keys)
    for layout in LAYOUTS:
        if source in (None, layout.source) and layout.fits(keys):
            return layout
    starts = dict.fromkeys('.'.join(key.split('.')[:2]) for key in keys)
    raise InputError(
        f'checkpoint {path} is no BiSeNet V1 or V2 of {source or ", ".join(SOURCES)}: its keys start with '
        f'{some(list(starts))}; give a checkpoint of one of them'
    )


def _best_config(
    layout: Layout, state_dict: dict[str, Tensor], originals: dict[str, str], meta: dict
) -> tuple[Path, dict[str, list[str]]]:
    """The first config that fits the tensors, or the one with the fewest faults; and the faults."""
    classifier = state_dict.get(CLASSIFIER)
    num_classes = len(classifier) if classifier is not None and classifier.ndim else None
    found: list[tuple[Path, dict[str, list[str]]]] = []
    tried = set()
    for config in _candidates(layout, meta, num_classes):
        tensors = _what_has_tensors(config)
        if tensors in tried:  # recipes share networks, and building each takes half a second
            continue
        tried.add(tensors)
        found.append((config, _faults(config, state_dict, originals, num_classes)))
        if not any(found[-1][1].values()):
            return found[-1]
    return min(found, key=lambda one: sum(map(len, one[1].values())))


def _candidates(layout: Layout, meta: dict, num_classes: int | None) -> Iterator[Path]:
    """Configs that may fit: the one that trained the checkpoint, then the layout's, those with ``num_classes`` first.

    Tensors do not tell everything. CoinCheung's V1 differs from MMSegmentation's only in an activation function, so
    only ``meta`` says which of the two a file in our layout is.
    """
    paths = sorted((model_index.folder() / 'configs').glob('bisenet*/*.py'))
    # Configs of the stock segmentor are for comparison and have no `model.num_classes`.
    configs = {path.stem: path for path in paths if '-stock_' not in path.stem}
    # `convert` writes `config`. A Runner writes `experiment_name`: the name of the config, the date and the time. 0.x
    # wrote `exp_name`: the file of the config.
    old = model_index.renamed(str(meta.get('exp_name')))
    origin = old or str(meta.get('config') or str(meta.get('experiment_name')).rsplit('_', 2)[0])
    if origin in configs:
        yield configs.pop(origin)
    paths = [configs.pop(name) for pattern in layout.configs for name in fnmatch.filter(configs, pattern)]
    yield from sorted(paths, key=lambda path: _model(path).num_classes != num_classes)


def _faults(
    config: Path, state_dict: dict[str, Tensor], originals: dict[str, str], num_classes: int | None
) -> dict[str, list[str]]:
    """Why the tensors cannot be loaded, by kind of fault. Either all auxiliary heads are missing, or none may be."""
    wanted = _wanted(config, num_classes, boosters=has_boosters(state_dict))
    shared = [key for key in state_dict if key in wanted]
    shapes = {key: (tuple(state_dict[key].shape), tuple(wanted[key].shape)) for key in shared}
    return {
        UNKNOWN: [originals[key] for key in state_dict if key not in wanted],
        'missing': [key for key in wanted if key not in state_dict],
        'of another shape': [
            f'{originals[key]} {got} instead of {want}' for key, (got, want) in shapes.items() if got != want
        ],
        'of another type': [
            f'{originals[key]} {state_dict[key].dtype} instead of {wanted[key].dtype}'
            for key in shared
            if state_dict[key].dtype != wanted[key].dtype
        ],
    }


def _wanted(config: Path, num_classes: int | None, boosters: bool) -> dict[str, Tensor]:
    """The tensors of a config's network."""
    model = copy.deepcopy(_model(config))
    if num_classes:
        model.num_classes = num_classes
    if not boosters:
        model.auxiliary_head = None
    return own_tensors(model)


def _what_has_tensors(config: Path) -> str:
    """The parts of a config's network as text, without what changes no tensor."""
    model = _model(config)
    heads = [model.decode_head, *(model.get('auxiliary_head') or ())]
    return repr((model.backbone, [{key: head[key] for key in head if key != 'loss_decode'} for head in heads]))


@functools.cache
def _model(config: Path) -> ConfigDict:
    """The network of a config of this package. To read all takes a second."""
    return Config.fromfile(config).model
