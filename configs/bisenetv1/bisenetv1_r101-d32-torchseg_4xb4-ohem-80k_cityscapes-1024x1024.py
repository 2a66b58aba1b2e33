# TorchSeg's model/bisenet/cityscapes.bisenet.R101; `mmseg-bisenet convert` makes its checkpoints ours. Its ResNet
# starts from ImageNet weights that are not published with this stem.
_base_ = [
    '../_base_/models/bisenetv1_r101-d32-torchseg.py',
    '../_base_/datasets/cityscapes_1024x1024_torchseg.py',
    '../_base_/schedules/schedule_torchseg.py',
    '../_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=_base_.crop_size))
optim_wrapper = dict(
    paramwise_cfg=dict(
        # Here all of the network but ResNet learns ten times as fast.
        custom_keys={'backbone.context_path.backbone': dict(lr_mult=1.0), 'backbone.': dict(lr_mult=10.0)},
    )
)
param_scheduler = [dict(type='PolyLR', eta_min=0, power=0.9, begin=0, end=80000, by_epoch=False)]
train_cfg = dict(max_iters=80000, val_interval=8000)
default_hooks = dict(checkpoint=dict(interval=8000))
