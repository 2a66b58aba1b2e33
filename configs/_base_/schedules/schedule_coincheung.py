# CoinCheung's schedule (configs/bisenetv2_city.py, 16 images a step): warm-up, then poly to zero. The learning rate and
# weight decay of each parameter follow the rules of V1's authors. For its mixed precision, train with --amp.
_base_ = './schedule_160k.py'
optim_wrapper = dict(
    optimizer=dict(lr=0.005),
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
    dict(type='PolyLR', eta_min=0, power=0.9, begin=1000, end=150000, by_epoch=False),
]
train_cfg = dict(max_iters=150000, val_interval=15000)
default_hooks = dict(checkpoint=dict(interval=15000))
