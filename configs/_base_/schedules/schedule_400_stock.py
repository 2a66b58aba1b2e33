# MMSegmentation's recipe cut to 400 iterations of 8 images. The learning rate is half of that for 16 images.
_base_ = './schedule_160k.py'
optim_wrapper = dict(optimizer=dict(lr=0.025))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=20, by_epoch=False),
    dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=20, end=400, by_epoch=False),
]
train_cfg = dict(max_iters=400, val_interval=400)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=400))
auto_scale_lr = dict(base_batch_size=8)
