# CoinCheung's configs/bisenetv2_city.py, without its mixed precision (--amp), its pre-trained backbone
# (backbone_v2.pth) and its zero-initialised last norms; `mmseg-bisenet convert` makes its checkpoints ours.
_base_ = [
    '../_base_/models/bisenetv2-coincheung.py',
    '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/schedules/schedule_160k.py',
    '../_base_/default_runtime.py',
]
crop_size = (512, 1024)
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=crop_size))
train_pipeline = [
    _base_.load_image,
    _base_.load_labels,
    dict(type='RandomResize', scale=(2048, 1024), ratio_range=(0.25, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(
    optimizer=dict(lr=0.005),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        # mmengine takes one rule a parameter: norms and biases of these have weight decay, there they don't.
        custom_keys={'decode_head': dict(lr_mult=10.0), 'auxiliary_head': dict(lr_mult=10.0)},
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=1000, by_epoch=False),
    dict(type='PolyLR', eta_min=0, power=0.9, begin=1000, end=150000, by_epoch=False),
]
train_cfg = dict(max_iters=150000, val_interval=15000)
default_hooks = dict(checkpoint=dict(interval=15000))
