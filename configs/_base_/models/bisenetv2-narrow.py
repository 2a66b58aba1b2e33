# BiSeNet V2 with narrow heads, to train on synthetic scenes in minutes on two cores.
_base_ = './bisenetv2.py'
norm_cfg = dict(type='SyncBN', requires_grad=True)
booster = dict(type='mmseg_bisenet.BoosterHead', channels=64, norm_cfg=norm_cfg)
model = dict(
    decode_head=dict(channels=128),
    auxiliary_head=[
        dict(booster, in_channels=16, in_index=1),
        dict(booster, in_channels=32, in_index=2),
        dict(booster, in_channels=64, in_index=3),
        dict(booster, in_channels=128, in_index=4),
    ],
)
