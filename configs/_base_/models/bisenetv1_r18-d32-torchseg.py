# BiSeNet V1 with ResNet-18 as the authors built it (TorchSeg, model/bisenet/cityscapes.bisenet.R18/network.py). The
# fusion gate, the upsampling and the widths of the heads differ from MMSegmentation's, and every loss mines hard
# pixels. The leaf config sets `num_classes` and the crop.
norm_cfg = dict(type='SyncBN', requires_grad=True)
head = dict(
    align_corners=True,
    dropout_ratio=0,
    loss_decode=dict(type='mmseg_bisenet.OHEMCrossEntropyLoss', threshold=0.7, min_kept_fraction=1 / 16),
)
booster = dict(head, type='mmseg_bisenet.BoosterHead', in_channels=128, channels=256, norm_cfg=norm_cfg)
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
        align_corners=True,
        fusion_gate='conv-act-conv',
    ),
    decode_head=dict(head, type='mmseg_bisenet.BiSeNetHead', in_channels=256, channels=64, norm_cfg=norm_cfg),
    auxiliary_head=[dict(booster, in_index=1), dict(booster, in_index=2)],
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
