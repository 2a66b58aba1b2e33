# CoinCheung's schedule on ADE20K (configs/bisenetv2_ade20k.py).
_base_ = './schedule_160k.py'
optim_wrapper = dict(
    optimizer=dict(lr=0.005, weight_decay=0.0001),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={
            'decode_head': dict(lr_mult=10.0),
            'auxiliary_head': dict(lr_mult=10.0),
        },
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=1000, by_epoch=False),
    dict(type='PolyLR', eta_min=0, power=0.9, begin=1000, end=160000, by_epoch=False),
]
train_cfg = dict(max_iters=160000, val_interval=16000)
default_hooks = dict(checkpoint=dict(interval=16000))
