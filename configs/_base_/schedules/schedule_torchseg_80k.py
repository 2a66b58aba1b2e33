# The schedule of V1's authors (TorchSeg) for a ResNet that starts from ImageNet weights. Everything outside the ResNet
# has ten times the learning rate.
_base_ = './schedule_160k.py'
optim_wrapper = dict(
    optimizer=dict(lr=0.01),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={
            # If several keys match a parameter, the longest counts.
            'backbone.': dict(lr_mult=10.0),
            'backbone.context_path.backbone.': dict(lr_mult=1.0),
            'backbone.ffm': dict(lr_mult=10.0),
            'decode_head': dict(lr_mult=10.0),
            'auxiliary_head': dict(lr_mult=10.0),
        },
    ),
)
param_scheduler = [dict(type='PolyLR', eta_min=0, power=0.9, begin=0, end=80000, by_epoch=False)]
train_cfg = dict(max_iters=80000, val_interval=8000)
default_hooks = dict(checkpoint=dict(interval=8000))
