# For data that nobody tuned a recipe for: 20k iterations, linear warm-up, then poly; weight decay on convolutions only.
_base_ = './schedule_160k.py'
optim_wrapper = dict(optimizer=dict(lr=0.05), paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=1000, by_epoch=False),
    dict(type='PolyLR', eta_min=0, power=0.9, begin=1000, end=20000, by_epoch=False),
]
train_cfg = dict(max_iters=20000, val_interval=2000)
default_hooks = dict(checkpoint=dict(interval=2000))
