# BiSeNet V2-Large, alpha 2 and d 3, in the reading nearest to the paper's cost, for which see the file of BiSeNetV2. No
# source has the widths of its boosters: here each is as wide as V2's head in that reading.
_base_ = './bisenetv2.py'
norm_cfg = dict(type='SyncBN', requires_grad=True)
head = dict(
    loss_decode=dict(type='mmseg_bisenet.OHEMCrossEntropyLoss', threshold=0.7, min_kept_fraction=1 / 16),
)
booster = dict(head, type='mmseg_bisenet.BoosterHead', channels=256, norm_cfg=norm_cfg)
model = dict(
    backbone=dict(alpha=2, depth=3, expand_first=True, context_norm=False),
    decode_head=dict(head, in_channels=256, channels=512),
    auxiliary_head=[
        dict(booster, in_channels=32, in_index=1),
        dict(booster, in_channels=64, in_index=2),
        dict(booster, in_channels=128, in_index=3),
        dict(booster, in_channels=256, in_index=4),
    ],
)
