# V1's authors' schedule for a ResNet that starts from ImageNet weights: all but it learns ten times as fast.
_base_ = './schedule_torchseg.py'
optim_wrapper = dict(
    paramwise_cfg=dict(
        # The longest key that fits counts.
        custom_keys={'backbone.': dict(lr_mult=10.0), 'backbone.context_path.backbone.': dict(lr_mult=1.0)}
    )
)
param_scheduler = [dict(type='PolyLR', eta_min=0, power=0.9, begin=0, end=80000, by_epoch=False)]
train_cfg = dict(max_iters=80000, val_interval=8000)
default_hooks = dict(checkpoint=dict(interval=8000))
