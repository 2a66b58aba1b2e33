# CoinCheung's schedule (configs/bisenetv2_city.py, 16 images a step): warm-up, poly to zero; parameters by the rules of
# V1's authors. Its mixed precision is the option --amp.
_base_ = './schedule_torchseg.py'
optim_wrapper = dict(optimizer=dict(lr=0.005))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=1000, by_epoch=False),
    dict(type='PolyLR', eta_min=0, power=0.9, begin=1000, end=150000, by_epoch=False),
]
train_cfg = dict(max_iters=150000, val_interval=15000)
default_hooks = dict(checkpoint=dict(interval=15000))
