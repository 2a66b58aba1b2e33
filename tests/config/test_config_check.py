"""A wrong field of a config is named by its path, before anything is built."""

import inspect
import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from mmseg_bisenet.cli import main
from mmseg_bisenet.config import check as config_check
from mmseg_bisenet.engine.optim import rules_without_effect
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.model_index import find_config
from mmseg_bisenet.zoo import get_model

NAME = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256'
ROOT = Path(__file__).resolve().parents[2] / 'configs'


@pytest.mark.parametrize('path', sorted(ROOT.glob('bisenet*/*.py')), ids=lambda path: path.stem)
def test_our_configs_are_right(path):
    cfg = Config.fromfile(path)
    config_check.check(cfg)
    assert config_check.unread(cfg) == []


@pytest.mark.parametrize('path', sorted(ROOT.glob('bisenet*/*.py')), ids=lambda path: path.stem)
def test_our_rules_for_parameters_have_an_effect(path):
    """V1's feature fusion module and the heads learn ten times as fast as the backbones in CoinCheung's recipes."""
    cfg = Config.fromfile(path)
    rules = cfg.optim_wrapper.get('paramwise_cfg') or {}
    with DefaultScope.overwrite_default_scope('mmseg'), torch.device('meta'):
        assert rules_without_effect(rules, MODELS.build(cfg.model)) == []
    if re.search('coincheung|celebamask|ade20k|ohem-160k_coco', path.stem):
        faster = {'decode_head', 'auxiliary_head', *(['backbone.ffm'] if 'bisenetv1' in path.stem else [])}
        assert rules.custom_keys == {key: dict(lr_mult=10.0) for key in faster}


WRONG = [
    ('model', None, 'model is None; give a dict'),
    ('model', 'BiSeNet', "model is 'BiSeNet'; give a dict"),
    ('model.num_classes', 0, 'model.num_classes is 0; give a whole number, 1 or more'),
    ('model.num_classes', 2.5, 'model.num_classes is 2.5; give a whole number, 1 or more'),
    ('model.num_classes', '19', "model.num_classes is '19'; give a whole number, 1 or more"),
    ('model.type', 'BiSeNet', "model.type is 'BiSeNet', which no package has registered; "),
    ('model.type', 'mmseg_bisenet.BiSeNetSegmentr', 'did you mean mmseg_bisenet.BiSeNetSegmentor?'),
    ('model.backbone', None, None),  # the segmentor says it
    ('model.backbone', 5, 'model.backbone is 5; give a dict'),
    ('model.backbone.type', 'mmseg_bisenet.BiSeNetV3', 'did you mean mmseg_bisenet.BiSeNetV2?'),
    (
        'model.backbone.detail_chanels',
        (8, 8, 8),
        "model.backbone takes no 'detail_chanels'; did you mean detail_channels?",
    ),
    (
        'model.backbone.out_indices',
        (-1,),
        'model.backbone.out_indices is (-1,); give a list of whole numbers, 0 or more',
    ),
    ('model.decode_head.align_corners', 'no', "model.decode_head.align_corners is 'no'; give True or False"),
    ('model.decode_head.channels', 0, 'model.decode_head.channels is 0; give a whole number, 1 or more'),
    ('model.decode_head.in_channels', -1, 'model.decode_head.in_channels is -1; give a whole number'),
    ('model.decode_head.ignore_index', 256, 'model.decode_head.ignore_index is 256; give a whole number from 0 to 255'),
    ('model.decode_head.dropout_ratio', 1, 'model.decode_head.dropout_ratio is 1; give a number from 0 to below 1'),
    (
        'model.decode_head.loss_decode',
        dict(type='CrossEntropy'),
        "model.decode_head.loss_decode.type is 'CrossEntropy'",
    ),
    ('model.auxiliary_head.1.type', 'Booster', "model.auxiliary_head.1.type is 'Booster', which no package"),
    ('model.data_preprocessor.size', (0, 128), r'model.data_preprocessor.size is (0, 128); give two whole numbers'),
    (
        'model.data_preprocessor.std',
        [0, 1, 1],
        'model.data_preprocessor.std is [0, 1, 1]; give a list of three numbers above 0',
    ),
    ('model.data_preprocessor.mean', [1, 2], 'model.data_preprocessor.mean is [1, 2]; give a list of three numbers'),
    ('model.test_cfg.stride', (0, 64), 'model.test_cfg.stride is (0, 64); give two whole numbers, 1 or more'),
    ('model.test_cfg.crop_size', 64, 'model.test_cfg.crop_size is 64; give two whole numbers, 1 or more'),
    ('model.test_cfg.scales', [], 'model.test_cfg.scales is []; give a list of numbers above 0'),
    ('model.data_preprocessor', None, 'model.data_preprocessor is None; give a dict'),
    ('model.data_preprocessor.batch_augments', [dict(type='A')], 'give a function, or remove it'),
    ('model.backbone.bga_channels', 0, 'model.backbone.bga_channels is 0; give a whole number, 1 or more'),
    ('model.backbone.semantic_expansion_ratio', -1, 'semantic_expansion_ratio is -1; give a whole number, 1 or more'),
    ('model.decode_head.loss_decode', dict(loss_weight=3), 'decode_head.loss_decode has no type; give one, remove the'),
    ('train_dataloader.dataset.pipeline.2.scale', (-1, 96), 'scale is (-1, 96); give a width and a height, 1 or more'),
    ('train_dataloader.dataset.pipeline.2.scale', [(32, 64), (64, 128)], None),
    ('train_dataloader.dataset.pipeline.2.ratio_range', (2.0, 0.5), 'give two numbers above 0, the smaller first'),
    ('train_dataloader.dataset.pipeline.0.color_type', 'grayscale', "color_type is 'grayscale'; give color"),
    ('test_pipeline.0.imdecode_backend', 'nope', "is 'nope'; give one of cv2, turbojpeg, pillow, tifffile"),
    ('tta_pipeline.1.transforms', [], 'tta_pipeline.1.transforms is []; give a list of lists of dicts'),
    ('tta_pipeline.0.type', 'LoadImageFromNDArray', "is 'LoadImageFromNDArray'; give LoadImageFromFile"),
    ('test_dataloader.dataset.indices', [0, 0, 1], 'indices is [0, 0, 1]; give each number once'),
    (
        'test_dataloader.dataset.metainfo',
        dict(label_map={0: 1}),
        'dataset.metainfo.label_map is {0: 1}; give metainfo.classes instead, which it follows from',
    ),
    (
        'train_dataloader.dataset.metainfo',
        dict(reduce_zero_label=True),
        'dataset.metainfo.reduce_zero_label is True; give reduce_zero_label of the data set instead',
    ),
    ('test_dataloader.dataset.metainfo', dict(labelmap={}), "takes no 'labelmap'; did you mean label_map?"),
    ('model.backbone.norm_cfg', dict(type='SynchBN'), "model.backbone.norm_cfg.type is 'SynchBN', which no package"),
    ('model.decode_head.norm_cfg', dict(type='BN2', eps=1e-3), 'did you mean BN2d?'),
    ('model.decode_head.act_cfg', dict(type='ReLU7'), 'did you mean ReLU?'),
    ('model.decode_head.act_cfg', dict(type='ReLU', requires_grad=True), "takes no 'requires_grad'"),
    ('model.backbone.norm_cfg', dict(type='BN', eps=0), 'model.backbone.norm_cfg.eps is 0; give a number above 0'),
    ('model.decode_head.dropout_ratio', -0.1, 'dropout_ratio is -0.1; give a number from 0 to below 1'),
    ('model.data_preprocessor.seg_pad_val', 0, 'seg_pad_val is 0, a class, and the losses ignore 255; set both to one'),
    ('default_hooks.runtime_info', None, 'default_hooks.runtime_info is None; give a dict'),
    ('default_hooks.param_scheduler', None, 'is None, so param_scheduler would change nothing; remove one of them'),
    (
        'train_dataloader.dataset.pipeline',
        [dict(type='LoadImageFromFile'), dict(type='RandomFlip', direction='sideways')],
        "pipeline.1.direction is 'sideways'; give one of horizontal, vertical, diagonal",
    ),
    ('train_dataloader.dataset.times', -1, 'train_dataloader.dataset.times is -1; give a whole number, 1 or more'),
    ('train_dataloader.dataset.datasets', [], 'train_dataloader.dataset.datasets is []; give a list of one or more'),
    ('env_cfg', None, 'env_cfg is None; give a dict'),
    ('randomness', None, 'randomness is None; give a dict'),
    ('default_hooks.visualization', None, 'default_hooks.visualization is None; give a dict'),
    ('default_hooks.pictures', None, 'default_hooks.pictures is None; give a dict'),
    ('default_hooks.checkpoint', None, None),  # MMEngine then leaves it out
    ('default_hooks', None, None),
    ('default_hooks.curves.priority', 'HIGHISH', "curves.priority is 'HIGHISH'; give one of HIGHEST, VERY_HIGH"),
    ('default_hooks.curves.priority', 49, None),
    ('custom_hooks', [dict(type='EMAHook', priority='HIGHISH')], "custom_hooks.0.priority is 'HIGHISH'; give one of"),
    ('param_scheduler.1.power', -1, 'param_scheduler.1.power is -1; give a number, 0 or more'),
    (
        'optim_wrapper.clip_grad',
        dict(_delete_=True, max_nrom=1),
        "clip_grad takes no 'max_nrom'; did you mean max_norm?",
    ),
    ('val_cfg.type', 'TestLoop', "val_cfg.type is 'TestLoop'; give ValLoop"),
    ('visualizer.name', 5, 'visualizer.name is 5; give a text'),
    ('log_processor', dict(custom_cfg=[dict(data_src='a')]), 'custom_cfg.0 is'),
    ('default_hooks.checkpoint.save_best', 'mIuO', "default_hooks.checkpoint.save_best is 'mIuO', and val_evaluator"),
    ('model.channels_last', 5, 'model.channels_last is 5; give True or False'),
    ('model.backbone.init_cfg', 'no', None),  # a text where no flag is wanted
    ('model.decode_head.sampler', 'no', None),
    ('model.pretrained', 'no', None),
    ('model.decode_head.norm_cfg.requires_grad', 'no', "norm_cfg.requires_grad is 'no'; give True or False"),
    (
        'model.decode_head.loss_decode',
        dict(type='CrossEntropyLoss', use_sigmoid='no'),
        "loss_decode.use_sigmoid is 'no'; give True or False",
    ),
    ('model.data_preprocessor.bgr_to_rgb', 'no', "model.data_preprocessor.bgr_to_rgb is 'no'; give True or False"),
    ('model.test_cfg.nearest_labels', 'no', "model.test_cfg.nearest_labels is 'no'; give True or False"),
    ('train_dataloader.persistent_workers', 'no', "train_dataloader.persistent_workers is 'no'; give True or False"),
    ('default_hooks.checkpoint.by_epoch', 'no', "default_hooks.checkpoint.by_epoch is 'no'; give True or False"),
    ('auto_scale_lr', dict(enable='no'), "auto_scale_lr.enable is 'no'; give True or False"),
    ('log_level', 5, 'log_level is 5; give one of DEBUG, INFO, WARNING, ERROR, CRITICAL'),
    ('log_level', 'info', "log_level is 'info'; give one of DEBUG, INFO"),
    ('crop_size', (0, 0), 'crop_size is (0, 0); give two whole numbers, 1 or more'),
    ('scale', (5, 0), 'scale is (5, 0); give two whole numbers, 1 or more'),
    ('scale', 5, None),  # a variable of a user
    ('visualizer', 5, 'visualizer is 5; give a dict'),
    ('test_evaluator', 5, 'test_evaluator is 5; give a dict'),
    ('test_dataloader.dataset.data_prefix.img_path', 5, 'data_prefix.img_path is 5; give a text'),
    ('test_dataloader.dataset.max_refetch', -1, 'max_refetch is -1; give a whole number, 0 or more'),
    ('train_dataloader', 5, 'train_dataloader is 5; give a dict'),
    ('train_dataloader.batch_size', -1, 'train_dataloader.batch_size is -1; give a whole number, 1 or more'),
    ('train_dataloader.num_workers', -1, 'train_dataloader.num_workers is -1; give a whole number, 0 or more'),
    ('train_dataloader.batchsize', 4, "train_dataloader takes no 'batchsize'; did you mean batch_size?"),
    ('train_dataloader.dataset.type', 'Cityscapes', "train_dataloader.dataset.type is 'Cityscapes', which no package"),
    (
        'train_dataloader.dataset.pipeline',
        [],
        'train_dataloader.dataset.pipeline is []; give a list of one or more dicts',
    ),
    (
        'train_dataloader.dataset.pipeline.0.type',
        'LoadImage',
        "train_dataloader.dataset.pipeline.0.type is 'LoadImage'",
    ),
    ('train_dataloader.sampler.type', 'Infinite', "train_dataloader.sampler.type is 'Infinite', which no package"),
    ('test_pipeline', [], 'test_pipeline is []; give a list of one or more dicts'),
    ('optim_wrapper', None, None),  # not needed by a test
    ('optim_wrapper.optimizer.type', 'Foo', "optim_wrapper.optimizer.type is 'Foo', which no package has registered"),
    ('optim_wrapper.optimizer.type', 'SDG', "optim_wrapper.optimizer.type is 'SDG', which no package has registered"),
    ('optim_wrapper.optimizer.lr', float('nan'), 'optim_wrapper.optimizer.lr is nan; give a number'),
    ('optim_wrapper.optimizer.lr', float('inf'), 'optim_wrapper.optimizer.lr is inf; give a number, 0 or more'),
    ('optim_wrapper.optimizer.lr', '0.1', "optim_wrapper.optimizer.lr is '0.1'; give a number, 0 or more"),
    ('optim_wrapper.optimizer.lrr', 0.1, "optim_wrapper.optimizer takes no 'lrr'; did you mean lr?"),
    ('optim_wrapper.accumulative_counts', 0, 'optim_wrapper.accumulative_counts is 0; give a whole number, 1 or more'),
    (
        'optim_wrapper.paramwise_cfg.norm_decay_multt',
        0.0,
        "optim_wrapper.paramwise_cfg takes no 'norm_decay_multt'; did you mean norm_decay_mult?",
    ),
    ('optim_wrapper.paramwise_cfg.custom_kyes', {}, "takes no 'custom_kyes'; did you mean custom_keys?"),
    ('optim_wrapper.paramwise_cfg.norm_decay_mult', '0', "norm_decay_mult is '0'; give a number, 0 or more"),
    ('optim_wrapper.paramwise_cfg.custom_keys', ['head'], "custom_keys is ['head']; give a dict"),
    ('optim_wrapper.paramwise_cfg.custom_keys', dict(head=10), 'custom_keys.head is 10; give a dict'),
    (
        'optim_wrapper.paramwise_cfg.custom_keys',
        {'backbone.a': dict(lr_mul=10)},
        "optim_wrapper.paramwise_cfg.custom_keys.backbone.a takes no 'lr_mul'; did you mean lr_mult?",
    ),
    (
        'optim_wrapper.paramwise_cfg.custom_keys',
        {'backbone.a': dict(lr_mult=-1)},
        'custom_keys.backbone.a.lr_mult is -1; give a number, 0 or more',
    ),
    ('optim_wrapper.paramwise_cfg.custom_keys', {'backbone.a': dict(lr_mult=2, eps=1e-6)}, None),  # of AdamW
    ('optim_wrapper', dict(constructor='Other', paramwise_cfg=dict(num_layers=3)), None),  # it may take others
    ('train_dataloader.dataset.metainfo', dict(clases=['a']), "metainfo takes no 'clases'; did you mean classes?"),
    ('train_dataloader.dataset.metainfo', dict(PALETTE=[]), "metainfo takes no 'PALETTE'; remove it, or fix its name"),
    ('train_dataloader.dataset.metainfo', dict(year=2016), None),
    ('train_dataloader.dataset.data_prefix.seg_path', '.', "takes no 'seg_path'; did you mean seg_map_path?"),
    (
        'test_dataloader.dataset.filter_cfg',
        dict(a=1),
        'test_dataloader.dataset.filter_cfg changes nothing, because CityscapesDataset filters nothing; remove it',
    ),
    (
        'test_dataloader.dataset.ignore_index',
        0,
        'test_dataloader.dataset.ignore_index is 0, and that of test_evaluator, which counts, is 255; set both',
    ),
    (
        'train_dataloader.dataset.ignore_index',
        0,
        'train_dataloader.dataset.ignore_index is 0, and that of model.decode_head, which counts, is 255; set both',
    ),
    ('train_dataloader.dataset.ignore_index', 255, None),
    ('val_evaluator.ignore_index', 300, 'val_evaluator.ignore_index is 300; give a whole number from 0 to 255'),
    ('train_dataloader.dataset.indices', 0, 'indices is 0; give the number of images, or a list of their numbers'),
    ('visualizer.alpha', 'half', "visualizer.alpha is 'half'; give a number from 0 to 1"),
    ('visualizer.vis_backends', 5, 'visualizer.vis_backends is 5; give a list of one or more dicts'),
    (
        'test_dataloader.dataset.pipeline.1.scale',
        [0, 32],
        'test_dataloader.dataset.pipeline.1.scale is [0, 32]; give a width and a height',
    ),
    ('default_scope', None, 'default_scope is None; give '),
    ('randomness.seed', -1, 'randomness.seed is -1; give a whole number from 0 to 4294967295'),
    ('randomness.sed', 1, "randomness takes no 'sed'; did you mean seed?"),
    ('env_cfg.foo', 1, "env_cfg takes no 'foo'; remove it, or fix its name"),
    ('env_cfg.cudnn_benchmark', 'yes', "env_cfg.cudnn_benchmark is 'yes'; give True or False"),
    ('default_hooks.checkpoint.max_keep_ckpts', 0, 'max_keep_ckpts is 0; give a whole number, 1 or more; -1 keeps all'),
    *(
        ('default_hooks.checkpoint.filename_tmpl', name, 'give a file name with one {} for the number, such as iter_{}')
        for name in ('x.pth', '../{}.pth', 'a/{}.pth', '{}_{}.pth', '{:05d}.pth', '{}.py', 5)
    ),
    ('default_hooks.checkpoint.filename_tmpl', 'run10_{}.pth', None),
    ('custom_hooks', [dict(type='CheckpointHook', filename_tmpl='x.pth')], 'custom_hooks.0.filename_tmpl is'),
    ('visualizer.vis_backends.0.config_save_file', '../a.py', 'give a file name that ends in .py'),
    ('visualizer.vis_backends.0.scalar_save_file', 'a.txt', 'give a file name that ends in .json'),
    ('visualizer.vis_backends.0.img_save_dir', '/tmp', 'give a name without a folder'),
    *(
        (f'{name}_dataloader.drop_last', True, f'{name}_dataloader.drop_last is True; give False: each image counts')
        for name in ('val', 'test')
    ),
    ('train_dataloader.drop_last', True, None),
    ('test_dataloader.batch_sampler', dict(type='BatchSampler', drop_last=True), 'batch_sampler.drop_last is True'),
    ('model.decode_head.loss_decode', [], 'loss_decode is []; give a dict, or a list of one or more dicts'),
    *(
        (
            'model.decode_head.loss_decode',
            dict(type='CrossEntropyLoss', class_weight=[1, value]),
            'class_weight is [1, ',
        )
        for value in (-1, float('inf'), 'a')
    ),
    ('model.decode_head.loss_decode', dict(type='CrossEntropyLoss', class_weight=[1, 0.5, *[0] * 17]), None),
    ('model.backbone.norm_cfg.momentum', 5, 'model.backbone.norm_cfg.momentum is 5; give a number from 0 to 1'),
    ('model.backbone.norm_cfg.momentum', None, None),  # PyTorch's cumulative average
    (
        'default_hooks.chekpoint',
        dict(interval=5),
        'default_hooks.chekpoint has no type; give one, remove the field, or fix',
    ),
    ('train_cfg.max_iters', -5, 'train_cfg.max_iters is -5; give a whole number, 1 or more'),
    ('train_cfg.val_interval', 0, 'train_cfg.val_interval is 0; give a whole number, 1 or more'),
    ('train_cfg.type', 'Loop', "train_cfg.type is 'Loop', which no package has registered"),
    ('param_scheduler.0.type', 'Poly', "param_scheduler.0.type is 'Poly', which no package has registered"),
    ('param_scheduler.0.begin', -5, 'param_scheduler.0.begin is -5; give a whole number, 0 or more'),
    ('param_scheduler.0.start_factor', 0, 'param_scheduler.0.start_factor is 0; give a number above 0, up to 1'),
    ('custom_hooks', [5], 'custom_hooks.0 is 5; give a dict'),
    ('optim_wrapper.optimizer', None, 'optim_wrapper.optimizer is None; give a dict'),
    ('test_pipeline.0.type', 5, 'test_pipeline.0.type is 5; give the name of a class'),
    ('default_hooks.checkpoint.interval', 0.5, 'default_hooks.checkpoint.interval is 0.5; give a whole number'),
    ('default_hooks.logger.interval', 0, 'default_hooks.logger.interval is 0; give a whole number, 1 or more'),
    ('default_hooks.curves.type', 'mmseg_bisenet.CurveHook', 'did you mean mmseg_bisenet.CurvesHook?'),
    ('test_evaluator.type', 'mIoU', "test_evaluator.type is 'mIoU', which no package has registered"),
    (
        'visualizer.type',
        'Visualiser',
        "visualizer.type is 'Visualiser', which no package has registered; did you mean Vis",
    ),
    (
        'tta_model.type',
        'BiSeNetTTA',
        "tta_model.type is 'BiSeNetTTA', which no package has registered; did you mean mm",
    ),
]


@pytest.mark.parametrize(('path', 'value', 'text'), WRONG, ids=[f'{path}={value}'[:60] for path, value, _ in WRONG])
def test_a_wrong_field(cfg, path, value, text):
    cfg.merge_from_dict({path: value})
    if text is None:
        config_check.check(cfg)
        return
    with pytest.raises(InputError) as caught:
        config_check.check(cfg)
    message = str(caught.value)
    assert message.startswith('config: ') and text in message and '\n' not in message and len(message) < 400


def test_only_some_keys(cfg):
    cfg.merge_from_dict({'optim_wrapper.optimizer.lr': -1})
    config_check.check(cfg, 'model', 'test_pipeline')
    with pytest.raises(InputError, match=r'optimizer\.lr is -1'):
        config_check.check(cfg)


# -- keys that nobody reads --------------------------------------------------------------------------------------------


def test_bases_in_a_circle(tmp_path):
    (tmp_path / 'a.py').write_text("_base_ = 'b.py'")
    (tmp_path / 'b.py').write_text("_base_ = 'a.py'")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)  # each file is parsed anew, 1000 calls deep
    try:
        with pytest.raises(InputError, match=rf'^config {tmp_path}/a.py: its _base_ leads back to itself; fix it$'):
            config_check.read(tmp_path / 'a.py')
    finally:
        sys.setrecursionlimit(limit)


def test_a_mistyped_key_of_a_file(cfg):
    cfg.trian_cfg = dict(max_iters=5)
    cfg.my_own_variable = 5
    assert config_check.unread(cfg) == ['nothing reads trian_cfg; did you mean train_cfg?']


@pytest.mark.parametrize(
    ('text', 'names'),
    [
        ('crop_size = (64, 64)', ['crop_size']),
        ('scale = (64, 64)', ['scale']),
        ("train_pipeline = [dict(type='LoadImageFromFile')]", ['train_pipeline']),
        ("norm_cfg = dict(type='BN')", ['norm_cfg']),
        ('crop_size = (64, 64)\nmodel = dict(data_preprocessor=dict(size=crop_size))', []),
        # The base has a variable, whose value no field has any more.
        ("train_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile')]))", []),
    ],
)
def test_a_variable_that_no_field_takes(text, names, tmp_path):
    (tmp_path / 'own.py').write_text(f"_base_ = '{find_config(NAME)}'\n{text}\n")
    said = config_check.unread(Config.fromfile(tmp_path / 'own.py'))
    assert [
        line.partition(' changes nothing: it is a variable, and no field has its value; ')[0] for line in said
    ] == names


@pytest.mark.parametrize('value', ['{0:1}', ['dict(type=IoUMetric', 'ignore_index=0)'], [['{1:2}']]])
def test_a_dict_as_an_option(cfg, value):
    with pytest.raises(
        InputError, match=r'^--cfg-options test_evaluator: a dict cannot be written here; set its fields, as test_eval'
    ):
        config_check.merge(cfg, dict(test_evaluator=value))
    assert config_check.merge(cfg, {'default_hooks.checkpoint.filename_tmpl': '{}.pth'}) == []


def test_a_mistyped_option(cfg):
    with pytest.raises(
        InputError, match=r"^--cfg-options trian_cfg\.max_iters: nothing reads 'trian_cfg'; did you mean"
    ):
        config_check.merge(cfg, {'trian_cfg.max_iters': 5})
    with pytest.raises(InputError, match="nothing reads 'foo'; remove it, or fix its name"):
        config_check.merge(cfg, {'foo': 5})
    with pytest.raises(
        InputError,
        match=r'--cfg-options param_scheduler\.9\.begin does not fit the config \(KeyError: "Index 9.*; fix it',
    ):
        config_check.merge(cfg, {'train_cfg.max_iters': 7, 'param_scheduler.9.begin': 5})
    assert config_check.merge(cfg, {'norm_cfg.type': 'BN', 'train_cfg.max_iters': 7}) == [
        'norm_cfg.type changes nothing: norm_cfg is a variable of the config file; set the fields that it is in'
    ]
    assert cfg.train_cfg.max_iters == 7


def test_a_variable_of_a_base_in_a_package(tmp_path):
    base = 'mmseg_bisenet::bisenetv2/bisenetv2_fcn_1xb16-20k_own-folder-512x512.py'
    text = f"_base_ = '{base}'\nmodel = dict(decode_head=dict(norm_cfg=_base_.norm_cfg))\n"
    (tmp_path / 'a.py').write_text(text)
    found = config_check.read(tmp_path / 'a.py').model.decode_head.norm_cfg
    assert found['type'] == 'SyncBN' and '_scope_' not in found  # `SyncBatchNorm` would take it as an argument


def test_a_field_of_what_is_none(cfg):
    cfg.optim_wrapper.clip_grad = None
    assert config_check.merge(cfg, {'optim_wrapper.clip_grad.max_norm': 2}) == []
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=2)
    config_check.check(cfg)


# -- where configs enter -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('command', ['train', 'test', 'benchmark', 'check-labels'])
def test_commands(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.pth').touch()
    checkpoint = [] if command in ('train', 'check-labels') else ['a.pth']
    assert main([command, NAME, *checkpoint, '--cfg-options', 'model.num_classes=0']) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == 'mmseg-bisenet: error: config: model.num_classes is 0; give a whole number, 1 or more'
    assert [path.name for path in tmp_path.iterdir()] == ['a.pth']


@pytest.mark.parametrize(
    ('option', 'fault'),
    [('=x', 'a key is empty'), ('model.=x', 'a key is empty'), ('x', 'it has no ='), ('a=(1,2', 'Imbalanced brackets')],
)
def test_an_option_that_is_no_pair(option, fault, capsys):
    with pytest.raises(SystemExit) as ended:
        main(['train', NAME, '--cfg-options', option])
    assert ended.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f'--cfg-options {option}: {fault}' in line and line.endswith('; write KEY=VALUE')


def test_notes(tmp_path, monkeypatch, capsys):
    (tmp_path / 'own.py').write_text(f"_base_ = '{find_config(NAME)}'\ntrian_cfg = dict(max_iters=5)\n")
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(tmp_path / 'nowhere'))
    assert main(['train', str(tmp_path / 'own.py'), '--cfg-options', 'norm_cfg.type=BN']) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f'note: config {tmp_path}/own.py: nothing reads trian_cfg; did you mean train_cfg?'
    assert lines[1].startswith('note: --cfg-options norm_cfg.type changes nothing: norm_cfg is a variable')
    assert 'data folder' in lines[2] and len(lines) == 3


CONFIGS = {
    'model = dict(': 'own.py cannot be read (SyntaxError',
    'raise KeyError("a\\nb")': 'own.py cannot be read (KeyError',
    'raise SystemExit(0)': 'own.py cannot be read (SystemExit: 0)',
    'x = 5': 'own.py has no `model`; give',
    'model = 5': 'config: model is 5; give a dict',
    'model = dict(type="Foo")': "config: model.type is 'Foo', which no package has registered",
    'model = dict(type="mmseg_bisenet.BiSeNetSegmentor")': 'model cannot be built (TypeError: ',
}


@pytest.mark.parametrize('text', CONFIGS)
def test_get_model(text, tmp_path):
    (tmp_path / 'own.py').write_text(f'custom_imports = dict(imports=["mmseg_bisenet"])\n{text}\n')
    with pytest.raises(InputError) as caught:
        get_model(str(tmp_path / 'own.py'))
    assert CONFIGS[text] in str(caught.value) and '\n' not in str(caught.value) and len(str(caught.value)) < 400


def test_get_model_with_no_classes():
    with pytest.raises(InputError, match=r'config: model\.num_classes is 0; give a whole number, 1 or more'):
        get_model('bisenetv2_camvid', num_classes=0)


def test_imports_come_too_late(cfg):
    with pytest.raises(
        InputError, match=r'^--cfg-options custom_imports.imports comes too late to import anything; wri'
    ):
        config_check.merge(cfg, {'custom_imports.imports': 'os'})


@pytest.mark.parametrize(
    ('option', 'text'),
    [
        ('resume=True', 'resume=True in the config changes nothing; give --resume instead'),
        ('launcher=pytorch', 'launcher=pytorch in the config changes nothing; give --launcher pytorch instead'),
    ],
)
def test_fields_that_options_replace(option, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(['train', NAME, '--cfg-options', option]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f'mmseg-bisenet: error: {text}'
    assert not list(tmp_path.iterdir())
