"""What a config of a BiSeNet needs, checked before anything is built: an error names the field by its path.

Three tables: what the values of fields must be, which registry knows the type of a field, and which top-level keys are
read. Paths are those of ``--cfg-options``: ``*`` is any key, ``#`` an index, and ``**`` any text with its dots. Fields
that a config lacks are not checked here: the classes have defaults, or say what is missing.
"""

import difflib
import functools
import inspect
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine import registry
from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry

from mmseg_bisenet.errors import InputError, short

LONGEST = 200  # characters of a value or a reason; some quote a whole config

# -- values ------------------------------------------------------------------------------------------------------------


def _number(least: float, most: float = math.inf, whole: bool = False) -> Callable[[Any], bool]:
    kinds = (int,) if whole else (int, float)
    return lambda value: type(value) in kinds and least <= value <= most and value != math.inf


def _list(of: Callable[[Any], bool], length: int | None = None) -> Callable[[Any], bool]:
    def test(value: Any) -> bool:
        return isinstance(value, list | tuple) and bool(value) and length in (None, len(value)) and all(map(of, value))

    return test


COUNT = _number(1, whole=True), 'a whole number, 1 or more'
FROM_ZERO = _number(0, whole=True), 'a whole number, 0 or more'
RATE = _number(0), 'a number, 0 or more'
POSITIVE = _number(1e-30), 'a number above 0'
POSITIVES = _list(POSITIVE[0]), 'a list of numbers above 0'
SHARE = _number(0, 1), 'a number from 0 to 1'
COUNTS = (lambda value: COUNT[0](value) or _list(COUNT[0])(value)), 'a whole number, 1 or more, or a list of them'
SIZE = _list(COUNT[0], 2), 'two whole numbers, 1 or more'
SIZE_OR_OTHER = (lambda value: not isinstance(value, list | tuple) or SIZE[0](value)), SIZE[1]  # a user's variable
CROP = (lambda value: COUNT[0](value) or SIZE[0](value)), 'two whole numbers, 1 or more'
DICT = (lambda value: isinstance(value, dict), 'a dict')
STEPS = _list(DICT[0]), 'a list of one or more dicts'
FLAG = (lambda value: isinstance(value, bool), 'True or False')
TEXT = (lambda value: isinstance(value, str), 'a text')

VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(('model', 'model.backbone'), DICT),
    **dict.fromkeys(
        ('model.decode_head', '*_evaluator'), (lambda value: isinstance(value, dict | list | tuple), 'a dict')
    ),
    'model.num_classes': COUNT,
    'model.backbone.out_indices': (_list(_number(0, 4, whole=True)), 'a list of whole numbers from 0 to 4'),
    'model.data_preprocessor.size': SIZE,
    'model.data_preprocessor.mean': (_list(_number(-math.inf), 3), 'a list of three numbers'),
    'model.data_preprocessor.std': (_list(POSITIVE[0], 3), 'a list of three numbers above 0'),
    **dict.fromkeys(('model.test_cfg.crop_size', 'model.test_cfg.stride'), SIZE),
    'model.test_cfg.scales': POSITIVES,
    **dict.fromkeys(('model.channels_last', 'model.**.align_corners'), FLAG),
    **dict.fromkeys(('model.**.in_channels', 'model.**.channels'), COUNTS),
    'model.**.loss_weight': RATE,
    'model.**.dropout_ratio': (_number(-1, 1), 'a number from 0 to 1'),  # stock switches it off by -1
    'model.**.ignore_index': (_number(0, 255, whole=True), 'a whole number from 0 to 255'),
    **dict.fromkeys(('crop_size', 'scale'), SIZE_OR_OTHER),
    '*_dataloader': DICT,
    '*_dataloader.batch_size': COUNT,
    '*_dataloader.num_workers': FROM_ZERO,
    '*_dataloader.dataset': DICT,
    '*_dataloader.dataset.pipeline': STEPS,
    '*_dataloader.**.data_prefix': DICT,
    '*_dataloader.**.max_refetch': FROM_ZERO,
    **{
        f'*_dataloader.**.{key}': TEXT
        for key in ('data_root', 'data_prefix.*', 'ann_file', 'img_suffix', 'seg_map_suffix')
    },
    '*_dataloader.**.crop_size': CROP,
    '*_pipeline': STEPS,
    '*_pipeline.**.crop_size': CROP,
    'optim_wrapper': DICT,
    'optim_wrapper.accumulative_counts': COUNT,
    'optim_wrapper.clip_grad': DICT,
    'optim_wrapper.clip_grad.max_norm': POSITIVE,
    'optim_wrapper.paramwise_cfg': DICT,
    'optim_wrapper.optimizer': DICT,
    'optim_wrapper.optimizer.lr': RATE,
    'optim_wrapper.optimizer.momentum': SHARE,
    'optim_wrapper.optimizer.weight_decay': RATE,
    'param_scheduler.#.begin': FROM_ZERO,
    'param_scheduler.#.start_factor': (_number(1e-30, 1), 'a number above 0, up to 1'),
    **{f'train_cfg.{key}': COUNT for key in ('max_iters', 'max_epochs', 'val_interval')},
    'default_hooks.logger.interval': COUNT,
    'default_hooks.checkpoint.interval': (_number(-1, whole=True), 'a whole number; -1 saves none'),
    'auto_scale_lr': DICT,
    'auto_scale_lr.base_batch_size': COUNT,
    'default_scope': TEXT,
    **dict.fromkeys(('default_hooks', 'log_processor', 'visualizer', 'randomness', 'env_cfg'), DICT),
    'custom_hooks': (lambda value: isinstance(value, list | tuple), 'a list of dicts'),
    'custom_hooks.#': DICT,
    'load_from': TEXT,
    'work_dir': TEXT,
}
# None is no value of these; for others it means the default, or none.
NOT_NONE = {'model', 'optim_wrapper.optimizer', 'train_dataloader.batch_size'}

# -- types -------------------------------------------------------------------------------------------------------------

_HEADS = 'model.decode_head', 'model.decode_head.#', 'model.auxiliary_head', 'model.auxiliary_head.#'
_LOSSES = 'model.**.loss_decode', 'model.**.loss_decode.#'
_OTHERS = 'model', 'model.backbone', 'model.neck', 'model.data_preprocessor', 'tta_model'
_DATASETS = '*_dataloader.dataset', '*_dataloader.dataset.**.dataset', '*_dataloader.dataset.**datasets.#'
TYPES: dict[str, Registry] = {
    **dict.fromkeys((*_HEADS, *_LOSSES, *_OTHERS), registry.MODELS),
    **dict.fromkeys(_DATASETS, registry.DATASETS),
    **dict.fromkeys(('**pipeline.#', 'tta_pipeline.#.transforms.#.#'), registry.TRANSFORMS),
    **dict.fromkeys(('*_evaluator', '*_evaluator.#'), registry.METRICS),
    **dict.fromkeys(('param_scheduler', 'param_scheduler.#'), registry.PARAM_SCHEDULERS),
    **dict.fromkeys(('train_cfg', 'val_cfg', 'test_cfg'), registry.LOOPS),
    **dict.fromkeys(('default_hooks.*', 'custom_hooks.#'), registry.HOOKS),
    '*_dataloader.sampler': registry.DATA_SAMPLERS,
    'optim_wrapper': registry.OPTIM_WRAPPERS,
    'optim_wrapper.optimizer': registry.OPTIMIZERS,
    'visualizer': registry.VISUALIZERS,
}
# What MMEngine's builders take out of a dict before its class gets the others.
OF_BUILDERS = {'type', '_scope_', 'priority', 'constructor', 'paramwise_cfg', 'convert_to_iter_based'}

# -- keys --------------------------------------------------------------------------------------------------------------

# Read after the config is loaded, besides the arguments of MMEngine's Runner. Other keys only serve the config file.
OURS = (
    *('custom_imports', 'model_wrapper_cfg', 'find_unused_parameters', 'sync_bn', 'compile'),
    *('tta_model', 'tta_pipeline', 'train_pipeline', 'test_pipeline', 'crop_size', 'scale'),
)


@functools.cache
def _known() -> set[str]:
    from mmengine.runner import Runner  # it imports PyTorch, which --help does not need

    return {*inspect.signature(Runner).parameters, *OURS} - {'cfg'}


def read(path: str | Path) -> Config:
    """The config in a file.

    Raises:
        InputError: it cannot be read.
    """
    with explained(f'config {path} cannot be read', 'fix it'):
        try:
            return Config.fromfile(path)
        except RecursionError as error:
            raise InputError(f'config {path}: its _base_ leads back to itself; fix it') from error


def check(cfg: Config, *keys: str) -> None:
    """Check the values, types and keys of a config.

    Args:
        keys: only these top-level keys are checked; by default all.

    Raises:
        InputError: it names the first field that is wrong, its value, and what it should be.
    """
    from torch.utils.data import DataLoader

    scope = cfg.get('default_scope') or 'mmseg'
    with DefaultScope.overwrite_default_scope(scope if isinstance(scope, str) else 'mmseg'):
        for path, value in _fields(cfg, keys):
            _check_value(path, value)
            if isinstance(value, dict):
                _check_type(path, value)
                if _fits(path, '*_dataloader'):
                    _check_keys(path, value, {*inspect.signature(DataLoader).parameters, 'num_batch_per_epoch'})


def unread(cfg: Config) -> list[str]:
    """A line for each top-level key that nobody reads and that is spelled nearly as one that is read."""
    return [
        f'nothing reads {key}; did you mean {near}?'
        for key in cfg
        if key not in _known() and (near := _nearest(key, _known()))
    ]


def merge(cfg: Config, options: dict[str, Any]) -> list[str]:
    """Merge ``--cfg-options``.

    Returns:
        A line for each option that changes a variable of the config file, which is used up when the file is read.

    Raises:
        InputError: nothing reads an option, or the config cannot take it.
    """
    notes = []
    for key in options:
        top = key.partition('.')[0]
        if top not in _known() and top in cfg:
            notes.append(f'{key} changes nothing: {top} is a variable of the config file; set the fields that it is in')
        elif top not in _known():
            raise InputError(f'--cfg-options {key}: nothing reads {top!r}; {_advice(_nearest(top, _known()))}')
    with explained('--cfg-options do not fit the config', 'fix them'):
        cfg.merge_from_dict(options)
    return notes


@contextmanager
def explained(what: str, fix: str) -> Iterator[None]:
    """Turn any exception into an InputError of one line: a config is a program, and classes raise anything."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f'{what} ({_short(f"{type(error).__name__}: {error}")}); {fix}') from error


def building(key: str) -> Any:
    """A context in which what ``key`` of a config describes is built."""
    return explained(f'{key} cannot be built', f'fix {key} in the config, or with --cfg-options')


def _fields(cfg: Config, keys: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    def walk(path: str, node: Any) -> Iterator[tuple[str, Any]]:
        yield path, node
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
        for key, value in items:
            yield from walk(f'{path}.{key}', value)

    for key in keys or cfg:
        # Variables of the config file may be anything.
        if key in _known() and key in cfg:
            yield from walk(key, cfg[key])


def _fits(path: str, pattern: str) -> bool:
    return bool(_expression(pattern).fullmatch(path))


@functools.cache
def _expression(pattern: str) -> re.Pattern:
    parts = {'**': '.*', '*': '[^.]*', '#': '[0-9]+'}
    return re.compile(''.join(parts.get(part, re.escape(part)) for part in re.split(r'(\*\*|\*|#)', pattern)))


def _check_value(path: str, value: Any) -> None:
    if isinstance(value, float) and math.isnan(value):
        raise InputError(f'config: {path} is nan; give a number')
    for pattern, (test, text) in VALUES.items():
        if _fits(path, pattern) and (value is not None or path in NOT_NONE) and not test(value):
            raise InputError(f'config: {path} is {_short(repr(value))}; give {text}')


def _check_type(path: str, node: dict) -> None:
    known = next((known for pattern, known in TYPES.items() if _fits(path, pattern)), None)
    name = node.get('type')
    if 'type' in node and known and not (isinstance(name, str) or callable(name)):
        raise InputError(f'config: {path}.type is {_short(repr(name))}; give the name of a class')
    if known is None or not isinstance(name, str):  # a class needs no registry
        return
    with known.switch_scope_and_registry(node.get('_scope_')) as here:
        found = here.get(name) or known.get(name)  # which of the two is asked depends on who builds
        if found is None:
            names = {*known.module_dict, *here.module_dict}
            names |= {f'{child.scope}.{name}' for child in here.children.values() for name in child.module_dict}
            near = _nearest(name, names) or next((other for other in names if other.endswith(f'.{name}')), None)
            raise InputError(f'config: {path}.type is {name!r}, which no package has registered; {_advice(near)}')
    if inspect.isclass(found):
        arguments = inspect.signature(found.__init__).parameters.values()
        if not any(argument.kind is argument.VAR_KEYWORD for argument in arguments):
            _check_keys(path, node, {argument.name for argument in arguments} | OF_BUILDERS)


def _check_keys(path: str, node: dict, known: set[str]) -> None:
    for key in node:
        if key not in known:
            raise InputError(f'config: {path} takes no {key!r}; {_advice(_nearest(key, known))}')


def _advice(near: str | None) -> str:
    return f'did you mean {near}?' if near else 'remove it, or fix its name'


def _nearest(name: str, names: set[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, sorted(names), 1, 0.8)), None)


def _short(text: str) -> str:
    return short(re.sub(r'\s+', ' ', text), LONGEST)
