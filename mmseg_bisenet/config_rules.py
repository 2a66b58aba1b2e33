"""Fields of a config that contradict each other, and fields that another one switches off.

:func:`mmseg_bisenet.config_check.check` calls :func:`check`; :func:`notes` is for what changes nothing, but that stock
configs may have.
"""

import inspect
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATA_SAMPLERS, LOOPS, PARAM_SCHEDULERS, DefaultScope, Registry

from mmseg_bisenet.errors import InputError

ENDLESS = {'InfiniteSampler', 'ResumableSampler'}


def check(cfg: Config) -> None:
    """Check fields against each other.

    Raises:
        InputError: a loop would never end or leave out images, a scheduler would never step, or a field is ignored.
    """
    scope = cfg.get('default_scope') or 'mmseg'
    with DefaultScope.overwrite_default_scope(scope):
        _check_samplers(cfg)
        _check_schedulers(cfg)
    _check_sizes(cfg)


def notes(cfg: Config) -> list[str]:
    """A line for each field that changes nothing because of another one."""
    found, model = [], cfg.get('model') or {}
    test_cfg = model.get('test_cfg') or {}
    mode = test_cfg.get('mode', 'whole')
    readers = dict(crop_size=('slide', 'ssc', 'mscf'), stride=('slide', 'ssc', 'mscf'), scales=('msf', 'mscf'))
    for key, modes in readers.items():
        if test_cfg.get(key) is not None and mode not in modes:
            found.append(f'model.test_cfg.{key} changes nothing, because mode is {mode}; {", ".join(modes)} read it')
    heads = model.get('decode_head')
    for head in heads if isinstance(heads, list | tuple) else [heads or {}]:
        outputs = head.get('out_channels') or model.get('num_classes') or head.get('num_classes')
        if head.get('threshold') is not None and outputs and outputs > 1:
            found.append(f'model.decode_head.threshold changes nothing for {outputs} outputs; a head of one reads it')
    return found


def _check_samplers(cfg: Config) -> None:
    """Refuse endless samplers where a loop waits for their end."""
    train_cfg = cfg.get('train_cfg') or {}
    waiting = {'val_dataloader': 'a validation', 'test_dataloader': 'a test'}
    if train_cfg.get('by_epoch') or 'EpochBasedTrainLoop' in _bases(train_cfg, LOOPS):
        waiting['train_dataloader'] = 'a training by epochs'
    for key, loop in waiting.items():
        sampler = (cfg.get(key) or {}).get('sampler') or {}
        if ENDLESS & _bases(sampler, DATA_SAMPLERS):
            raise InputError(
                f'config: {key}.sampler.type is {_name(sampler)}, which never ends, and so {loop} would not; '
                'give DefaultSampler'
            )


def _check_schedulers(cfg: Config) -> None:
    """Refuse schedulers by epoch, MMEngine's default, in a training by iterations: they would not step once."""
    train_cfg = cfg.get('train_cfg') or {}
    if not (train_cfg.get('by_epoch') is False or 'IterBasedTrainLoop' in _bases(train_cfg, LOOPS)):
        return
    for path, scheduler in _paths('param_scheduler', cfg.get('param_scheduler')):
        steps = not scheduler.get('by_epoch', True) or scheduler.get('convert_to_iter_based')
        # A plateau is looked for after each validation.
        if not steps and 'ReduceOnPlateauParamScheduler' not in _bases(scheduler, PARAM_SCHEDULERS):
            raise InputError(
                f'config: {path} counts epochs, and this training iterations, so {_name(scheduler)} would change '
                f'nothing; set {path}.by_epoch=False'
            )


def _check_sizes(cfg: Config) -> None:
    """Refuse a ``scale_factor`` of a ``Resize`` that has a ``scale``, which counts."""
    for key in cfg:
        if key.endswith(('_pipeline', '_dataloader')):
            for path, step in _paths(key, cfg[key]):
                if _name(step) == 'Resize' and step.get('scale') and step.get('scale_factor'):
                    raise InputError(f'config: {path} has a scale, so scale_factor changes nothing; remove one')


def _paths(path: str, node: Any) -> Iterator[tuple[str, dict]]:
    """Each dict with a type, at any depth, and its path."""
    if isinstance(node, dict) and 'type' in node:
        yield path, node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    for key, value in items:
        yield from _paths(f'{path}.{key}', value)


def _bases(node: Any, registry: Registry) -> set[str]:
    """Names of the class that the type of a dict names, and of its bases. Names need no import."""
    name = node.get('type') if isinstance(node, dict) else None
    with registry.switch_scope_and_registry(None) as here:  # which of the two is asked depends on who builds
        found = here.get(name) or registry.get(name) if isinstance(name, str) else name
    return {base.__name__ for base in found.__mro__} if inspect.isclass(found) else set()


def _name(node: dict) -> str:
    kind = node.get('type')
    return str(kind if isinstance(kind, str) else getattr(kind, '__name__', kind)).rpartition('.')[2]
