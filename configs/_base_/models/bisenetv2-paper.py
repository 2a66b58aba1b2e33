# BiSeNet V2 in the reading that is closest to the paper's cost (mmseg_bisenet/models/bisenetv2/backbone.py). No source
# gives the widths of its boosters: here each is as wide as the head. Every loss mines hard pixels. The leaf config sets
# `num_classes` and the crop.
norm_cfg = dict(type='SyncBN', requires_grad=True)
head = dict(
    channels=256,
    loss_decode=dict(type='mmseg_bisenet.OHEMCrossEntropyLoss', threshold=0.7, min_kept_fraction=1 / 16),
)
booster = dict(head, type='mmseg_bisenet.BoosterHead', norm_cfg=norm_cfg)
data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
)
model = dict(
    type='mmseg_bisenet.BiSeNetSegmentor',
    data_preprocessor=data_preprocessor,
    backbone=dict(type='mmseg_bisenet.BiSeNetV2', expand_first=True, context_norm=False, norm_cfg=norm_cfg),
    decode_head=dict(head, type='mmseg_bisenet.BiSeNetHead', in_channels=128, norm_cfg=norm_cfg),
    auxiliary_head=[
        dict(booster, in_channels=16, in_index=1),
        dict(booster, in_channels=32, in_index=2),
        dict(booster, in_channels=64, in_index=3),
        dict(booster, in_channels=128, in_index=4),
    ],
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
