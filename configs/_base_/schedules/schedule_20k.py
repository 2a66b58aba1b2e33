# BiSeNetV2's paper on COCO-Stuff 10k: poly without warm-up, weight decay on convolutions only, and smaller than on
# Cityscapes.
_base_ = './schedule_160k.py'
optim_wrapper = dict(
    optimizer=dict(lr=0.05, weight_decay=0.0001),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [dict(type='PolyLR', eta_min=0, power=0.9, begin=0, end=20000, by_epoch=False)]
train_cfg = dict(max_iters=20000, val_interval=2000)
default_hooks = dict(checkpoint=dict(interval=2000))
