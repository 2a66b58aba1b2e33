"""Fields of a config that contradict each other, and fields that another one switches off.

:func:`mmseg_bisenet.config.check.check` calls :func:`check`; :func:`notes` is for what changes nothing, but that stock
configs may have.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATA_SAMPLERS, HOOKS, LOOPS, PARAM_SCHEDULERS, DefaultScope, Registry

from mmseg_bisenet.config.errors import dicts, typed
from mmseg_bisenet.config.fields import OUR_HOOKS
from mmseg_bisenet.errors import InputError

ENDLESS = {'InfiniteSampler', 'ResumableSampler'}
# The scores of stock's IoUMetric for each of its `iou_metrics`.
OF_IOU = {
    'mIoU': {'aAcc', 'mIoU', 'mAcc'},
    'mDice': {'aAcc', 'mDice', 'mAcc'},
    'mFscore': {'aAcc', 'mFscore', 'mPrecision', 'mRecall'},
}


def check(cfg: Config) -> None:
    """Check fields against each other.

    Raises:
        InputError: a loop would never end or leave out images, a scheduler would never step, or train what is frozen,
            a score or a class weight is missing, a field is ignored, two hooks average the weights, one of our
            hooks is listed again, or no checkpoint would be written.
    """
    scope = cfg.get('default_scope') or 'mmseg'
    with DefaultScope.overwrite_default_scope(scope):
        _check_samplers(cfg)
        _check_schedulers(cfg)
        _check_frozen(cfg)
        if len(found := averages(cfg)) > 1:
            raise InputError(f'config: {found[1]} averages the weights, and {found[0]} does too; remove one of them')
    _check_hooks(cfg)
    _check_saved(cfg)
    _check_sizes(cfg)
    _check_padding(cfg)
    _check_scores(cfg)
    _check_class_weights(cfg)


def notes(cfg: Config) -> list[str]:
    """A line for each field that changes nothing because of another one."""
    found, model = [], cfg.get('model') or {}
    test_cfg = model.get('test_cfg') or {}
    mode = test_cfg.get('mode', 'whole')
    readers = dict(crop_size=('slide', 'ssc', 'mscf'), stride=('slide', 'ssc', 'mscf'), scales=('msf', 'mscf'))
    for key, modes in readers.items():
        if test_cfg.get(key) is not None and mode not in modes:
            found.append(f'model.test_cfg.{key} changes nothing, because mode is {mode}; {", ".join(modes)} read it')
    for head in several(model.get('decode_head')):
        outputs = head.get('out_channels') or model.get('num_classes') or head.get('num_classes')
        if head.get('threshold') is not None and outputs and outputs > 1:
            found.append(f'model.decode_head.threshold changes nothing for {outputs} outputs; a head of one reads it')
    train_cfg = cfg.get('train_cfg') or {}
    begin, end = train_cfg.get('val_begin') or 1, train_cfg.get('max_iters') or train_cfg.get('max_epochs')
    if end and (cfg.get('default_hooks') or {}).get('checkpoint', {}) is None:
        found.append('default_hooks.checkpoint is None, so no checkpoint is written')
    if end and begin > end:
        found.append(f'train_cfg.val_begin is {begin}, and the training ends at {end}, so nothing is evaluated')
    return found


def averages(cfg: Config) -> list[str]:
    """The paths of the hooks that average the weights."""
    return [path for path, hook in _hooks(cfg) if 'EMAHook' in _bases(hook, HOOKS)]


def _hooks(cfg: Config) -> list[tuple[str, Mapping[str, Any]]]:
    default, custom = (cfg.get('default_hooks') or {}).items(), enumerate(cfg.get('custom_hooks') or ())
    hooks = [(f'default_hooks.{key}', hook) for key, hook in default]
    hooks += [(f'custom_hooks.{number}', hook) for number, hook in custom]
    return [(path, hook) for path, hook in hooks if isinstance(hook, Mapping)]


def _check_hooks(cfg: Config) -> None:
    """Refuse a hook of ours in both places, where it would do its work twice."""
    defaults = cfg.get('default_hooks') or {}
    ours = {defaults[name]['type']: name for name in OUR_HOOKS if name in defaults and 'type' in defaults[name]}
    for path, hook in _hooks(cfg):
        if path.startswith('custom_hooks.') and (name := ours.get(hook.get('type'))):
            raise InputError(f'config: {path} is default_hooks.{name} already; remove it')


def _check_saved(cfg: Config) -> None:
    """Refuse a training that would write no checkpoint. An interval of -1 says so, and is taken."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    end = (cfg.get('train_cfg') or {}).get('max_epochs' if hook.get('by_epoch', True) else 'max_iters')
    interval = hook.get('interval') or -1
    if end and interval > end and hook.get('save_last') is False and not hook.get('save_best'):
        raise InputError(
            f'config: default_hooks.checkpoint.interval is {interval}, and the training ends at {end}, so no '
            'checkpoint would be written; lower interval, or set save_last=True'
        )


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
                f'config: {key}.sampler.type is {name_of(sampler)}, which never ends, and so {loop} would not; '
                'give DefaultSampler'
            )


def _check_schedulers(cfg: Config) -> None:
    """Refuse schedulers that would not step once: without their hook, or by epoch in a training by iterations."""
    if cfg.get('param_scheduler') and (cfg.get('default_hooks') or {}).get('param_scheduler', {}) is None:
        raise InputError(
            'config: default_hooks.param_scheduler is None, so param_scheduler would change nothing; remove one of them'
        )
    train_cfg = cfg.get('train_cfg') or {}
    if not (train_cfg.get('by_epoch') is False or 'IterBasedTrainLoop' in _bases(train_cfg, LOOPS)):
        return
    for path, scheduler in typed('param_scheduler', cfg.get('param_scheduler')):
        steps = not scheduler.get('by_epoch', True) or scheduler.get('convert_to_iter_based')
        # A plateau is looked for after each validation.
        if not steps and 'ReduceOnPlateauParamScheduler' not in _bases(scheduler, PARAM_SCHEDULERS):
            raise InputError(
                f'config: {path} counts epochs, and this training iterations, so {name_of(scheduler)} would change '
                f'nothing; set {path}.by_epoch=False'
            )


def _check_frozen(cfg: Config) -> None:
    """Refuse schedulers that raise a rate of 0 to a smallest rate: what should stay as it is would be trained."""
    keys = ((cfg.get('optim_wrapper') or {}).get('paramwise_cfg') or {}).get('custom_keys') or {}
    frozen = [key for key, rule in keys.items() if isinstance(rule, Mapping) and rule.get('lr_mult') == 0]
    for path, scheduler in typed('param_scheduler', cfg.get('param_scheduler')):
        if frozen and scheduler.get('eta_min'):
            raise InputError(
                f'config: {path}.eta_min is {scheduler["eta_min"]}, to which {name_of(scheduler)} raises the rate of '
                f'optim_wrapper.paramwise_cfg.custom_keys.{frozen[0]}, whose lr_mult is 0; set {path}.eta_min=0'
            )


def _check_sizes(cfg: Config) -> None:
    """Refuse two sizes in one place, of which one counts."""
    for key in cfg:
        if key.endswith(('_pipeline', '_dataloader')):
            for path, step in typed(key, cfg[key]):
                if name_of(step) == 'Resize' and step.get('scale') and step.get('scale_factor'):
                    raise InputError(f'config: {path} has a scale, so scale_factor changes nothing; remove one')
    preprocessor = (cfg.get('model') or {}).get('data_preprocessor') or {}
    if preprocessor.get('size') and preprocessor.get('size_divisor'):
        raise InputError('config: model.data_preprocessor has size and size_divisor; remove one of them')


def _check_padding(cfg: Config) -> None:
    """Refuse padding whose label is a class that the losses count."""
    model = cfg.get('model') or {}
    label, classes = (model.get('data_preprocessor') or {}).get('seg_pad_val', 255), model.get('num_classes') or 0
    for head in several(model.get('decode_head')):
        ignored = head.get('ignore_index', 255)
        if label != ignored and 0 <= label < classes:
            raise InputError(
                f'config: model.data_preprocessor.seg_pad_val is {label}, a class, and the losses ignore {ignored}; '
                'set both to one number'
            )


def _check_scores(cfg: Config) -> None:
    """Refuse two metrics with scores of the same name, and a ``save_best`` that no metric computes."""
    for key in ('val_evaluator', 'test_evaluator'):
        found = metrics(cfg, key)
        known: set[str] = set()
        for number, metric in enumerate(found):
            own = scores(metric) or set()
            if both := sorted(known & own):
                raise InputError(
                    f'config: {key}.{number} and another metric both compute {", ".join(both)}; '
                    'set the prefix of one of them'
                )
            known |= own
        if key == 'val_evaluator' and found and all(scores(metric) is not None for metric in found):
            _check_best(cfg, known)
            _check_directions(cfg, known)


def metrics(cfg: Config, key: str) -> list[Any]:
    """Those of an evaluator."""
    return several(cfg.get(key))


def several(found: Any) -> list[Any]:
    """What may be one, a list, or none."""
    return list(found) if isinstance(found, list | tuple) else [found] if found else []


def _check_directions(cfg: Config, known: set[str]) -> None:
    """Refuse what takes the worst score for the best one: more is better for all that are known here."""
    plateaus = [
        (path, {'rule': 'less', **scheduler})  # its default
        for path, scheduler in typed('param_scheduler', cfg.get('param_scheduler'))
        if 'ReduceOnPlateauParamScheduler' in _bases(scheduler, PARAM_SCHEDULERS)
    ]
    for path, hook in (*_hooks(cfg), *plateaus):
        rules, named = hook.get('rule') or (), hook.get('save_best') or hook.get('monitor') or ()
        names = [named] if isinstance(named, str) else list(named)
        if 'less' in ([rules] if isinstance(rules, str) else rules) and {*names} & {*known, 'auto'}:
            raise InputError(
                f"config: {path}.rule is 'less', and more is better for {', '.join(names)}; set it to greater"
            )


def _check_best(cfg: Config, known: set[str]) -> None:
    best = ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('save_best')
    for name in several(best):
        if name and name != 'auto' and name not in known:
            raise InputError(
                f'config: default_hooks.checkpoint.save_best is {name!r}, and val_evaluator computes '
                f'{", ".join(sorted(known)) or "no score"}; give one of its scores'
            )
    for path, hook in _hooks(cfg):
        monitor = hook.get('monitor') if 'EarlyStoppingHook' in _bases(hook, HOOKS) else None
        if monitor and monitor not in known and 'loss' not in monitor:  # a user's loop may give losses
            raise InputError(
                f'config: {path}.monitor is {monitor!r}, and val_evaluator computes '
                f'{", ".join(sorted(known)) or "no score"}, so it would never stop; give one of its scores'
            )


def scores(metric: Any) -> set[str] | None:
    """The names of a metric's scores, or None for a metric that is not known here."""
    name = name_of(metric)
    if name not in ('SegmentationMetric', 'IoUMetric'):
        return None
    if metric.get('format_only'):
        return set()
    if name == 'IoUMetric':
        kinds = metric.get('iou_metrics', ['mIoU'])
        names = set().union(*(OF_IOU.get(one, set()) for one in ([kinds] if isinstance(kinds, str) else kinds)))
    else:
        names = {'aAcc', 'mIoU', 'mAcc', 'FWIoU', *(['boundary_mIoU'] if metric.get('boundary') else [])}
    prefix = metric.get('prefix')
    return {f'{prefix}/{one}' if prefix else one for one in names}


def _check_class_weights(cfg: Config) -> None:
    classes = cfg.get('model', {}).get('num_classes')
    for path, node in dicts('model', cfg.get('model')):
        weights = node.get('class_weight')  # or the path of a file
        if classes and classes > 2 and isinstance(weights, list | tuple) and len(weights) != classes:
            raise InputError(
                f'config: {path}.class_weight has {len(weights)} numbers, and model.num_classes is {classes}; give one '
                'for each class'
            )


def class_of(node: Any, registry: Registry) -> type | None:
    """The class that the type of a dict names, if it is registered."""
    name, scope = (node.get('type'), node.get('_scope_')) if isinstance(node, Mapping) else (None, None)
    with registry.switch_scope_and_registry(scope) as here:  # which of the two is asked depends on who builds
        found = here.get(name) or registry.get(name) if isinstance(name, str) else name
    return found if inspect.isclass(found) else None


def _bases(node: Any, registry: Registry) -> set[str]:
    """Names of the class that the type of a dict names, and of its bases. Names need no import."""
    found = class_of(node, registry)
    return {base.__name__ for base in found.__mro__} if found else set()


def name_of(node: Any) -> str:
    """The name of the type of a dict, without its package."""
    kind = node.get('type') if isinstance(node, Mapping) else None
    return str(kind if isinstance(kind, str) else getattr(kind, '__name__', kind)).rpartition('.')[2]
