# BiSeNet V1 with ResNet-50. Every width outside the ResNet is four times that of ResNet-18, as in MMSegmentation. The
# leaf config sets `num_classes` and the crop.
norm_cfg = dict(type='SyncBN', requires_grad=True)
booster = dict(type='mmseg_bisenet.BoosterHead', in_channels=512, channels=256, norm_cfg=norm_cfg)
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
    backbone=dict(
        type='mmseg_bisenet.BiSeNetV1',
        spatial_channels=(256, 256, 256, 512),
        context_channels=(512, 1024, 2048),
        out_channels=1024,
        backbone_cfg=dict(type='ResNet', depth=50, num_stages=4, out_indices=(0, 1, 2, 3)),
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(type='mmseg_bisenet.BiSeNetHead', in_channels=1024, channels=1024, norm_cfg=norm_cfg),
    auxiliary_head=[dict(booster, in_index=1), dict(booster, in_index=2)],
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
