"""What a config of a BiSeNet needs, checked before anything is built: an error names the field by its path.

The tables of :mod:`mmseg_bisenet.config.fields` say what the values of fields must be, which registry knows the type of
a field, and which top-level keys are read. Fields that a config lacks are not checked here: the classes have defaults,
or say what is missing.
"""

import copy
import difflib
import functools
import inspect
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmseg_bisenet.config import pipelines, rules
from mmseg_bisenet.config.errors import dicts, explained, frames, nodes
from mmseg_bisenet.config.errors import short_line as _short
from mmseg_bisenet.config.fields import (
    CONSTRUCTORS,
    CROP,
    DATASETS,
    FLAGS_OR_TEXTS,
    FREE,
    KEYS,
    NOT_NONE,
    OF_BUILDERS,
    OF_NORMS,
    OURS,
    PARAMWISE,
    PIPELINES,
    RULE,
    TYPED,
    TYPES,
    VALUES,
    VARIABLES,
)
from mmseg_bisenet.errors import InputError


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
            cfg = Config.fromfile(path)
            _remove_scopes(cfg)
            return cfg
        except RecursionError as error:
            raise InputError(f'config {path}: its _base_ leads back to itself; fix it') from error
        except ValueError as error:
            if '_get_package_and_cfg_path' not in str(error):
                raise
            base = frames(error)[0].f_locals['cfg_path']
            raise InputError(
                f'config {path}: its _base_ {base!r} names no folder; write PACKAGE::FOLDER/FILE.py, as in '
                'mmseg_bisenet::bisenetv2/FILE.py'
            ) from error


def _remove_scopes(cfg: Config) -> None:
    """Variables of a base in a package (``_base_.norm_cfg``) have its scope, which layers would take as an argument."""
    for _, node in dicts('config', cfg._cfg_dict):
        for layer in (node.get(key) for key in ('norm_cfg', 'conv_cfg', 'act_cfg')):
            if isinstance(layer, dict):
                layer.pop('_scope_', None)


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
                if value.get('type') == 'Resize' and value.get('scale') and not CROP[0](value['scale']):
                    raise InputError(f'config: {path}.scale is {value["scale"]!r}; give a width and a height')
                if _fits(path, '*_dataloader'):
                    arguments = inspect.signature(DataLoader).parameters
                    _check_flags(path, value, arguments)
                    _check_keys(path, value, {*arguments, 'num_batch_per_epoch'})
                if path in KEYS:
                    _check_keys(path, value, KEYS[path])
                for known in (known for pattern, known in FREE.items() if _fits(path, pattern)):
                    _check_keys(path, {key: None for key in value if _nearest(str(key).lower(), known)}, known)
    if not keys:
        _check_rules(cfg)
        _check_ignored(cfg)
        rules.check(cfg)
        pipelines.check(cfg)


def unread(cfg: Config) -> list[str]:
    """A line for each top-level key that nobody reads: spelled nearly as one that is, or a variable of no field."""
    mistyped = [
        f'nothing reads {key}; did you mean {near}?'
        for key in cfg
        if key not in _known() and (near := _nearest(key, _known()))
    ]
    fields = [value for key in cfg if key not in VARIABLES and key in _known() for _, value in nodes(key, cfg[key])]
    text = Path(cfg.filename).read_text(errors='replace') if cfg.filename else ''
    own = set(re.findall(r'^(\w+) *=', text, re.MULTILINE))  # others are of a base, and may have been replaced
    return mistyped + [
        f'{key} changes nothing: it is a variable, and no field has its value; set the fields that it is for'
        for key in VARIABLES
        if key in own and key in cfg and cfg[key] not in fields
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
        if top == 'custom_imports':  # MMEngine imports when it reads the file
            raise InputError(f'--cfg-options {key} comes too late to import anything; write it in the config')
        if top in cfg and (top not in _known() or top in PIPELINES):
            notes.append(f'{key} changes nothing: {top} is a variable of the config file; set the fields that it is in')
        elif top not in _known():
            raise InputError(f'--cfg-options {key}: nothing reads {top!r}; {_advice(_nearest(top, _known()))}')
    for key, value in options.items():
        if any(isinstance(found, str) and re.match(r'\s*(dict\(|\{[^}])', found) for _, found in nodes(key, value)):
            raise InputError(
                f'--cfg-options {key}: a dict cannot be written here; set its fields, as {key}.type=NAME, or write it '
                'in a config file'
            )
        _open(cfg, key)
    before = copy.deepcopy(cfg)
    try:
        cfg.merge_from_dict(options)
    except Exception:
        for key, value in options.items():  # again, one by one, to name the one that fails
            with explained(f'--cfg-options {key} does not fit the config', 'fix it'):
                before.merge_from_dict({key: value})
        raise
    return notes


def _open(cfg: Config, key: str) -> None:
    """Make a dict of what is None, so that a field of it can be set, such as ``optim_wrapper.clip_grad.max_norm``."""
    node: Any = cfg
    for part in key.split('.')[:-1]:
        if not isinstance(node, dict | Config) or part not in node:
            return
        if node[part] is None:
            node[part] = {}
        node = node[part]


def _fields(cfg: Config, keys: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for key in keys or cfg:
        # Variables of the config file may be anything.
        if key in _known() and key in cfg:
            yield from nodes(key, cfg[key])


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
    if 'type' not in node and any(_fits(path, pattern) for pattern in TYPED):
        raise InputError(f'config: {path} has no type; give one, remove the field, or fix its name')
    if 'type' in node and known and not (isinstance(name, str) or callable(name)):
        raise InputError(f'config: {path}.type is {_short(repr(name))}; give the name of a class')
    if known is None or not isinstance(name, str):  # a class needs no registry
        return
    from mmengine.dataset import BaseDataset

    with known.switch_scope_and_registry(node.get('_scope_')) as here:
        found = here.get(name) or known.get(name)  # which of the two is asked depends on who builds
        if found is None:
            names = {*known.module_dict, *here.module_dict}
            names |= {f'{child.scope}.{name}' for child in here.children.values() for name in child.module_dict}
            near = _nearest(name, names) or next((other for other in names if other.endswith(f'.{name}')), None)
            raise InputError(f'config: {path}.type is {name!r}, which no package has registered; {_advice(near)}')
    if inspect.isclass(found):
        arguments = _arguments(found)
        if node.get('filter_cfg') and getattr(found, 'filter_data', None) is BaseDataset.filter_data:
            raise InputError(f'config: {path}.filter_cfg changes nothing, because {name} filters nothing; remove it')
        _check_flags(path, node, arguments)
        if not any(argument.kind is argument.VAR_KEYWORD for argument in arguments.values()):
            others = OF_BUILDERS | OF_NORMS if path.endswith('norm_cfg') else OF_BUILDERS
            _check_keys(path, node, {*arguments, *others})


def _check_rules(cfg: Config) -> None:
    """Refuse keys of ``paramwise_cfg`` that no constructor reads, and options of rules that no optimizer has."""
    from mmengine.registry import OPTIMIZERS

    wrapper = cfg.get('optim_wrapper') or {}
    if wrapper.get('constructor') not in CONSTRUCTORS:
        return  # it has keys of its own
    path, rules = 'optim_wrapper.paramwise_cfg', wrapper.get('paramwise_cfg') or {}
    _check_keys(path, rules, PARAMWISE)
    kind = (wrapper.get('optimizer') or {}).get('type')
    kind = OPTIMIZERS.get(kind) if isinstance(kind, str) else kind
    for key, rule in (rules.get('custom_keys') or {}).items():
        if not isinstance(rule, dict):
            raise InputError(f'config: {path}.custom_keys.{key} is {_short(repr(rule))}; give a dict')
        if inspect.isclass(kind):
            _check_keys(f'{path}.custom_keys.{key}', rule, {*RULE, *inspect.signature(kind).parameters})


def _check_ignored(cfg: Config) -> None:
    """Refuse an ``ignore_index`` of a data set that is not that of the losses or scores: only check-labels reads it."""
    readers = {'train': 'model.decode_head', 'val': 'val_evaluator', 'test': 'test_evaluator'}
    for name, reader in readers.items():
        found = cfg.get('model', {}).get('decode_head') if name == 'train' else cfg.get(reader)
        used = [one.get('ignore_index', 255) for one in rules.several(found) if one]
        for path, node in _fields(cfg, (f'{name}_dataloader',)):
            if any(_fits(path, at) for at in DATASETS) and isinstance(node, dict) and 'ignore_index' in node:
                own = node['ignore_index']
                if others := [index for index in used if index != own]:
                    raise InputError(
                        f'config: {path}.ignore_index is {own}, and that of {reader}, which counts, is {others[0]}; '
                        'set both'
                    )


def _arguments(kind: Any) -> dict[str, inspect.Parameter]:
    """Arguments of a class, with those of its bases as far as it passes others on to them."""
    found: dict[str, inspect.Parameter] = {}
    for base in kind.__mro__:
        own = inspect.signature(base.__init__).parameters
        found = {**own, **found}
        if not any(argument.kind is argument.VAR_KEYWORD for argument in own.values()):
            break
    return found


def _check_keys(path: str, node: dict, known: set[str]) -> None:
    for key in node:
        if key not in known:
            raise InputError(f'config: {path} takes no {key!r}; {_advice(_nearest(key, known))}')


def _check_flags(path: str, node: dict, arguments: Mapping[str, inspect.Parameter]) -> None:
    """Refuse texts for arguments that are True or False by default: any text would be true."""
    for name in node.keys() & arguments.keys() - FLAGS_OR_TEXTS:
        flag = isinstance(arguments[name].default, bool) and 'str' not in str(arguments[name].annotation)
        if flag and isinstance(node[name], str):
            raise InputError(f'config: {path}.{name} is {_short(repr(node[name]))}; give True or False')


def _advice(near: str | None) -> str:
    return f'did you mean {near}?' if near else 'remove it, or fix its name'


def _nearest(name: str, names: set[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, sorted(names), 1, 0.8)), None)
