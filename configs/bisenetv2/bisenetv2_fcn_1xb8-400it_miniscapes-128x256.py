# The demo's: drawn streets, heads of a tenth of the width, AdamW and 400 iterations: minutes on two cores.
_base_ = [
    '../_base_/models/bisenetv2.py',
    '../_base_/datasets/miniscapes.py',
    '../_base_/schedules/schedule_10k.py',
    '../_base_/default_runtime.py',
]
norm_cfg = dict(type='SyncBN', requires_grad=True)
booster = dict(type='mmseg_bisenet.BoosterHead', channels=64, norm_cfg=norm_cfg)
model = dict(
    num_classes=_base_.num_classes,
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(channels=128),
    auxiliary_head=[
        dict(booster, in_channels=16, in_index=1),
        dict(booster, in_channels=32, in_index=2),
        dict(booster, in_channels=64, in_index=3),
        dict(booster, in_channels=128, in_index=4),
    ],
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=0.002, weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=20, by_epoch=False),
    dict(type='PolyLR', eta_min=1e-5, power=0.9, begin=20, end=400, by_epoch=False),
]
train_cfg = dict(max_iters=400, val_interval=200)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=400))
randomness = dict(seed=0)
auto_scale_lr = dict(base_batch_size=8)
