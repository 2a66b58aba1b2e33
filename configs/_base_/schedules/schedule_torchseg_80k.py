# V1's authors' schedule for a ResNet that starts from ImageNet weights: all but it learns
# ten times as fast.
_base_ = './schedule_torchseg.py'
optim_wrapper = dict(
    paramwise_cfg=dict(
        # By part rather than `backbone.`: a parameter that a key names has no rule for norms and biases any more.
        custom_keys={
            'backbone.spatial_path': dict(lr_mult=10.0),
            'backbone.context_path.arm': dict(lr_mult=10.0),
            'backbone.context_path.conv_head': dict(lr_mult=10.0),
            'backbone.context_path.gap_conv': dict(lr_mult=10.0),
        }
    )
)
param_scheduler = [dict(type='PolyLR', eta_min=0, power=0.9, begin=0, end=80000, by_epoch=False)]
train_cfg = dict(max_iters=80000, val_interval=8000)
default_hooks = dict(checkpoint=dict(interval=8000))
