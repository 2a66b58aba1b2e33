# The schedule of the demo: AdamW for 400 iterations of 8 images, with weight decay on every parameter.
_base_ = './schedule_160k.py'
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=0.002, weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=20, by_epoch=False),
    dict(type='PolyLR', eta_min=1e-5, power=0.9, begin=20, end=400, by_epoch=False),
]
train_cfg = dict(max_iters=400, val_interval=200)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=400))
randomness = dict(seed=0)
auto_scale_lr = dict(base_batch_size=8)
