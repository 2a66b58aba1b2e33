# The schedule of V1's authors (TorchSeg) for a network from scratch: poly from the first iteration, 140k iterations.
# The fusion and the heads have ten times the learning rate.
_base_ = './schedule_160k.py'
optim_wrapper = dict(
    optimizer=dict(lr=0.01),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={
            'backbone.ffm': dict(lr_mult=10.0),
            'decode_head': dict(lr_mult=10.0),
            'auxiliary_head': dict(lr_mult=10.0),
        },
    ),
)
param_scheduler = [dict(type='PolyLR', eta_min=0, power=0.9, begin=0, end=140000, by_epoch=False)]
train_cfg = dict(max_iters=140000, val_interval=14000)
default_hooks = dict(checkpoint=dict(interval=14000))
