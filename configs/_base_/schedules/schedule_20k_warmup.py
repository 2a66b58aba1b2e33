# For data that nobody tuned for: the schedule of 20k iterations behind a linear warm-up, with Cityscapes' weight decay.
_base_ = './schedule_20k.py'
optim_wrapper = dict(optimizer=dict(weight_decay=0.0005))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=1000, by_epoch=False),
    dict(type='PolyLR', eta_min=0, power=0.9, begin=1000, end=20000, by_epoch=False),
]
