# BiSeNet V2 in the reading nearest to the paper's cost, for which see the file of BiSeNetV2. No source has the widths
# of its boosters: here each is as wide as the head. Every loss mines.
_base_ = './bisenetv2.py'
norm_cfg = dict(type='SyncBN', requires_grad=True)
head = dict(
    channels=256,
    loss_decode=dict(type='mmseg_bisenet.OHEMCrossEntropyLoss', threshold=0.7, min_kept_fraction=1 / 16),
)
booster = dict(head, type='mmseg_bisenet.BoosterHead', norm_cfg=norm_cfg)
model = dict(
    backbone=dict(expand_first=True, context_norm=False),
    decode_head=head,
    auxiliary_head=[
        dict(booster, in_channels=16, in_index=1),
        dict(booster, in_channels=32, in_index=2),
        dict(booster, in_channels=64, in_index=3),
        dict(booster, in_channels=128, in_index=4),
    ],
)
