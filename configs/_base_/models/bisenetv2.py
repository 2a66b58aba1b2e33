# BiSeNet V2; the heads are as wide as MMSegmentation's. The leaf config sets `num_classes` and the crop.
norm_cfg = dict(type='SyncBN', requires_grad=True)
booster = dict(type='mmseg_bisenet.BoosterHead', num_convs=2, norm_cfg=norm_cfg)
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
    backbone=dict(type='mmseg_bisenet.BiSeNetV2', norm_cfg=norm_cfg),
    decode_head=dict(type='mmseg_bisenet.BiSeNetHead', in_channels=128, channels=1024, norm_cfg=norm_cfg),
    auxiliary_head=[
        dict(booster, in_channels=16, channels=16, in_index=1),
        dict(booster, in_channels=32, channels=64, in_index=2),
        dict(booster, in_channels=64, channels=256, in_index=3),
        dict(booster, in_channels=128, channels=1024, in_index=4),
    ],
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
