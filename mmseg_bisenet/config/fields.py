"""What the fields of a BiSeNet's config must be: the tables of :mod:`mmseg_bisenet.config.check`.

Paths are those of ``--cfg-options``: ``*`` is any key, ``#`` an index, and ``**`` any text with its dots.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine import registry
from mmengine.registry import Registry

# -- values ------------------------------------------------------------------------------------------------------------


def _number(least: float, most: float = math.inf, whole: bool = False) -> Callable[[Any], bool]:
    kinds = (int,) if whole else (int, float)
    return lambda value: type(value) in kinds and least <= value <= most and value != math.inf


def _never(_: Any) -> bool:
    return False


def _list(of: Callable[[Any], bool], length: int | None = None) -> Callable[[Any], bool]:
    def test(value: Any) -> bool:
        return isinstance(value, list | tuple) and bool(value) and length in (None, len(value)) and all(map(of, value))

    return test


def _named(suffix: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value == Path(value).name and value.endswith(suffix)


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
# A `{}`, or one checkpoint would replace another; MMEngine puts no number elsewhere. No folder: they have fields.
TEMPLATE = (
    lambda value: isinstance(value, str) and bool(re.fullmatch(r'[^{}/\0]*\{\}[^{}/\0]*\.pth', value)),
    'a file name with one {} for the number, such as iter_{}.pth',
)
# `RandomResize` draws between two sizes; of one it takes `ratio_range`.
SCALE = (
    lambda value: COUNT[0](value) or SIZE[0](value) or _list(SIZE[0], 2)(value),
    'a width and a height, 1 or more',
)
RANGE = (lambda value: _list(POSITIVE[0], 2)(value) and value[0] <= value[1]), 'two numbers above 0, the smaller first'
DIRECTIONS = 'horizontal', 'vertical', 'diagonal'  # of a flip
DECODERS = 'cv2', 'turbojpeg', 'pillow', 'tifffile'
PRIORITIES = 'HIGHEST', 'VERY_HIGH', 'HIGH', 'ABOVE_NORMAL', 'NORMAL', 'BELOW_NORMAL', 'LOW', 'VERY_LOW', 'LOWEST'
TRAINING_LOOPS = 'IterBasedTrainLoop', 'EpochBasedTrainLoop'
LEVELS = 'DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL'  # `logging` has their numbers, which MMEngine takes too

OUR_HOOKS = 'pictures', 'curves', 'scores', 'finite'  # in `default_hooks`
# MMEngine fails if one of these is None; of its own hooks it leaves out the others.
NEEDED_HOOKS = [f'default_hooks.{name}' for name in ('runtime_info', 'visualization', *OUR_HOOKS)]
VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(('model', 'model.backbone'), DICT),
    **dict.fromkeys(
        ('model.decode_head', '*_evaluator'), (lambda value: isinstance(value, dict | list | tuple), 'a dict')
    ),
    'model.num_classes': COUNT,
    'model.backbone.out_indices': (_list(_number(0, whole=True)), 'a list of whole numbers, 0 or more'),
    **dict.fromkeys(('model.backbone.*_channels', 'model.backbone.*_expansion_ratio'), COUNTS),
    'model.data_preprocessor': DICT,
    'model.data_preprocessor.batch_augments': (callable, 'a function, or remove it'),
    'model.data_preprocessor.size': SIZE,
    'model.data_preprocessor.mean': (_list(_number(-math.inf), 3), 'a list of three numbers'),
    'model.data_preprocessor.std': (_list(POSITIVE[0], 3), 'a list of three numbers above 0'),
    **dict.fromkeys(('model.test_cfg.crop_size', 'model.test_cfg.stride'), SIZE),
    'model.test_cfg.scales': POSITIVES,
    **{f'model.test_cfg.{key}': FLAG for key in ('keep_logits', 'nearest_labels')},
    **dict.fromkeys(('model.channels_last', 'model.**.align_corners', 'model.**.requires_grad'), FLAG),
    **dict.fromkeys(('model.**.in_channels', 'model.**.channels'), COUNTS),
    'model.**.loss_weight': RATE,
    'model.**.loss_decode': (
        lambda value: isinstance(value, dict) or STEPS[0](value),
        'a dict, or a list of one or more dicts',
    ),
    'model.**.class_weight': (
        lambda value: isinstance(value, str) or _list(RATE[0])(value),  # stock takes the path of a file too
        'a list of numbers, 0 or more',
    ),
    'model.**norm_cfg.momentum': SHARE,
    'model.**norm_cfg.eps': POSITIVE,
    'model.**.dropout_ratio': (  # stock switches it off by -1
        lambda value: value == -1 or _number(0, 0.999)(value),
        'a number from 0 to below 1',
    ),
    'model.**.ignore_index': (_number(0, 255, whole=True), 'a whole number from 0 to 255'),
    **dict.fromkeys(('crop_size', 'scale'), SIZE_OR_OTHER),
    '*_dataloader': DICT,
    '*_dataloader.batch_size': COUNT,
    '*_dataloader.num_workers': FROM_ZERO,
    **dict.fromkeys(
        [f'{name}_dataloader.{key}' for name in ('val', 'test') for key in ('drop_last', 'batch_sampler.drop_last')],
        (lambda value: not value, 'False: each image counts'),
    ),
    **dict.fromkeys(
        [f'{name}_dataloader.**.indices' for name in ('val', 'test')],
        (lambda value: not isinstance(value, list | tuple) or len(set(value)) == len(value), 'each number once'),
    ),
    '*_dataloader.dataset': DICT,
    '*_dataloader.dataset.pipeline': STEPS,
    '*_dataloader.**.data_prefix': DICT,
    '*_dataloader.**.metainfo.label_map': (_never, 'metainfo.classes instead, which it follows from'),
    '*_dataloader.**.metainfo.reduce_zero_label': (_never, 'reduce_zero_label of the data set instead'),
    '*_dataloader.**.max_refetch': FROM_ZERO,
    '*_dataloader.**.indices': (lambda value: bool(value), 'the number of images, or a list of their numbers'),
    **{
        f'*_dataloader.**.{key}': TEXT
        for key in ('data_root', 'data_prefix.*', 'ann_file', 'img_suffix', 'seg_map_suffix')
    },
    '*_dataloader.**.times': COUNT,
    '*_dataloader.**.datasets': STEPS,
    '*_pipeline': STEPS,
    'tta_pipeline.#.transforms': (_list(bool), 'a list of lists of dicts'),
    'tta_pipeline.#.type': (lambda value: value != 'LoadImageFromNDArray', 'LoadImageFromFile: it reads files'),
    **{
        f'{place}.**.{key}': rule
        for place in ('*_dataloader', '*_pipeline')
        for key, rule in dict(
            crop_size=CROP,
            scale=SCALE,
            ratio_range=RANGE,
            color_type=(lambda value: value != 'grayscale', 'color: the network takes three channels'),
            imdecode_backend=(lambda value: value in DECODERS, f'one of {", ".join(DECODERS)}'),
            direction=(lambda value: isinstance(value, list) or value in DIRECTIONS, f'one of {", ".join(DIRECTIONS)}'),
        ).items()
    },
    **dict.fromkeys(
        ('*_evaluator.ignore_index', '*_evaluator.#.ignore_index'),
        (_number(0, 255, whole=True), 'a whole number from 0 to 255'),
    ),
    'optim_wrapper': DICT,
    'optim_wrapper.accumulative_counts': COUNT,
    'optim_wrapper.clip_grad': DICT,
    'optim_wrapper.clip_grad.max_norm': POSITIVE,
    **dict.fromkeys(('optim_wrapper.paramwise_cfg', 'optim_wrapper.paramwise_cfg.custom_keys'), DICT),
    'optim_wrapper.paramwise_cfg.**_mult': RATE,
    'optim_wrapper.optimizer': DICT,
    'optim_wrapper.optimizer.lr': RATE,
    'optim_wrapper.optimizer.momentum': SHARE,
    'optim_wrapper.optimizer.weight_decay': RATE,
    'param_scheduler.#.power': RATE,
    'param_scheduler.#.begin': FROM_ZERO,
    'param_scheduler.#.start_factor': (_number(1e-30, 1), 'a number above 0, up to 1'),
    **{f'train_cfg.{key}': COUNT for key in ('max_iters', 'max_epochs', 'val_interval')},
    'train_cfg.val_begin': FROM_ZERO,
    'val_cfg.type': (lambda value: value not in ('TestLoop', *TRAINING_LOOPS), 'ValLoop'),
    'test_cfg.type': (lambda value: value not in ('ValLoop', *TRAINING_LOOPS), 'TestLoop'),
    'train_cfg.type': (lambda value: value not in ('ValLoop', 'TestLoop'), 'IterBasedTrainLoop'),
    **dict.fromkeys(
        ('default_hooks.*.priority', 'custom_hooks.#.priority'),
        (lambda value: value in PRIORITIES or _number(0, 100, whole=True)(value), f'one of {", ".join(PRIORITIES)}'),
    ),
    **dict.fromkeys(NEEDED_HOOKS, DICT),
    'default_hooks.logger.interval': COUNT,
    'default_hooks.checkpoint.interval': (_number(-1, whole=True), 'a whole number; -1 saves none'),
    'auto_scale_lr': DICT,
    'auto_scale_lr.base_batch_size': COUNT,
    'auto_scale_lr.enable': FLAG,
    'default_scope': TEXT,
    'log_level': (lambda value: value in (*LEVELS, 10, 20, 30, 40, 50), f'one of {", ".join(LEVELS)}'),
    **dict.fromkeys(('default_hooks', 'log_processor', 'visualizer', 'randomness', 'env_cfg'), DICT),
    'randomness.seed': (_number(0, 2**32 - 1, whole=True), 'a whole number from 0 to 4294967295'),
    **{f'randomness.{key}': FLAG for key in ('deterministic', 'diff_rank_seed')},
    'env_cfg.cudnn_benchmark': FLAG,
    **{f'env_cfg.{key}': DICT for key in ('mp_cfg', 'dist_cfg')},
    'default_hooks.checkpoint.max_keep_ckpts': (
        lambda value: value == -1 or COUNT[0](value),
        'a whole number, 1 or more; -1 keeps all',
    ),
    **dict.fromkeys(('default_hooks.*.filename_tmpl', 'custom_hooks.#.filename_tmpl'), TEMPLATE),
    'custom_hooks': (lambda value: isinstance(value, list | tuple), 'a list of dicts'),
    'custom_hooks.#': DICT,
    'log_processor.custom_cfg.#': (
        lambda value: isinstance(value, dict) and {'data_src', 'window_size'} <= value.keys(),
        'a dict with data_src and window_size',
    ),
    'visualizer.name': TEXT,
    'visualizer.vis_backends': STEPS,
    'visualizer.vis_backends.#.img_save_dir': (_named(''), 'a name without a folder'),
    'visualizer.vis_backends.#.config_save_file': (_named('.py'), 'a file name that ends in .py'),
    'visualizer.vis_backends.#.scalar_save_file': (_named('.json'), 'a file name that ends in .json'),
    'visualizer.alpha': SHARE,
    'load_from': TEXT,
    'work_dir': TEXT,
}
# None is no value of these; for others it means the default, or none.
NOT_NONE = {
    *('model', 'model.data_preprocessor', 'optim_wrapper.optimizer', 'train_dataloader.batch_size'),
    *('default_scope', 'env_cfg', 'randomness', *NEEDED_HOOKS),
}

# -- types -------------------------------------------------------------------------------------------------------------

_HEADS = 'model.decode_head', 'model.decode_head.#', 'model.auxiliary_head', 'model.auxiliary_head.#'
_LOSSES = 'model.**.loss_decode', 'model.**.loss_decode.#'
_OTHERS = 'model', 'model.backbone', 'model.neck', 'model.data_preprocessor', 'tta_model'
DATASETS = '*_dataloader.dataset', '*_dataloader.dataset.**.dataset', '*_dataloader.dataset.**datasets.#'
TYPES: dict[str, Registry] = {
    **dict.fromkeys((*_HEADS, *_LOSSES, *_OTHERS, 'model.**norm_cfg', 'model.**act_cfg'), registry.MODELS),
    **dict.fromkeys(DATASETS, registry.DATASETS),
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
OF_NORMS = {'requires_grad'}  # and out of the dict of a norm
# Keys of `paramwise_cfg` that MMEngine's constructor reads; a rule of `custom_keys` sets options of the optimizer too.
PARAMWISE = {
    *('custom_keys', 'norm_decay_mult', 'bias_lr_mult', 'bias_decay_mult', 'dwconv_decay_mult', 'flat_decay_mult'),
    *('dcn_offset_lr_mult', 'bypass_duplicate'),
}
RULE = {'lr_mult', 'decay_mult'}
# Dicts that MMEngine reads, and their keys. It ignores others, or raises without the path.
KEYS = {
    'randomness': {'seed', 'deterministic', 'diff_rank_seed'},
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'env_cfg.mp_cfg': {'mp_start_method', 'opencv_num_threads'},
    'auto_scale_lr': {'enable', 'base_batch_size'},
    'optim_wrapper.clip_grad': {'type', 'max_norm', 'norm_type', 'error_if_nonfinite', 'foreach', 'clip_value'},
}
TYPED = (
    'default_hooks.*',
    'custom_hooks.#',
    '**pipeline.#',
    'model',
    'model.backbone',
    *_HEADS,
    *_LOSSES,
)  # dicts that are built, whose class has no default
# Free dicts, in which a key that is nearly one of these is a mistyped one.
FREE = {
    '*_dataloader.**.metainfo': {'classes', 'palette', 'label_map', 'reduce_zero_label'},
    '*_dataloader.**.data_prefix': {'img_path', 'seg_map_path', 'img_path2', 'depth_map_path'},
}
CONSTRUCTORS = None, 'DefaultOptimWrapperConstructor', 'mmseg_bisenet.ParamwiseConstructor'
FLAGS_OR_TEXTS = {'add_extra_convs', 'pretrained'}  # arguments of stock's necks and of timm, False by default

# -- keys --------------------------------------------------------------------------------------------------------------

# Read after the config is loaded, besides the arguments of MMEngine's Runner. Other keys only serve the config file.
OURS = (
    *('custom_imports', 'model_wrapper_cfg', 'find_unused_parameters', 'sync_bn', 'compile'),
    *('tta_model', 'tta_pipeline', 'train_pipeline', 'test_pipeline', 'crop_size', 'scale'),
)
# Read from the config file only, by `inference_model`; the dataloaders have copies.
PIPELINES = ('train_pipeline', 'test_pipeline')
# Variables of stock's files and of ours, which a field has to take: one that inherits a file changes only the variable.
VARIABLES = ('crop_size', 'scale', 'norm_cfg', *PIPELINES, 'val_pipeline')
