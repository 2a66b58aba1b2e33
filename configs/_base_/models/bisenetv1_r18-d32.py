# BiSeNet V1 with ResNet-18; the heads are as wide as MMSegmentation's. The leaf config sets `num_classes` and the crop.
norm_cfg = dict(type='SyncBN', requires_grad=True)
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
        backbone_cfg=dict(type='ResNet', depth=18, num_stages=4, out_indices=(0, 1, 2, 3)),
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(type='mmseg_bisenet.BiSeNetHead', in_channels=256, channels=256, norm_cfg=norm_cfg),
    auxiliary_head=[
        dict(type='mmseg_bisenet.BoosterHead', in_channels=128, channels=64, in_index=1, norm_cfg=norm_cfg),
        dict(type='mmseg_bisenet.BoosterHead', in_channels=128, channels=64, in_index=2, norm_cfg=norm_cfg),
    ],
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
