# For data sets of hundreds of images: linear warm-up, then poly. 10k iterations as in BiSeNetV2's paper on CamVid.
_base_ = './schedule_160k.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=500, by_epoch=False),
    dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=500, end=10000, by_epoch=False),
]
train_cfg = dict(max_iters=10000, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=1000))
