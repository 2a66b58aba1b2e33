# MMSegmentation's own BiSeNetV1 and heads, for comparison. Outside the heads and the ResNet, its norms are plain BN.
norm_cfg = dict(type='SyncBN', requires_grad=True)
head = dict(type='FCNHead', concat_input=False, align_corners=False, norm_cfg=norm_cfg)
data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type='BiSeNetV1',
        in_channels=3,
        context_channels=(128, 256, 512),
        spatial_channels=(64, 64, 64, 128),
        out_indices=(0, 1, 2),
        out_channels=256,
        backbone_cfg=dict(
            type='ResNet',
            in_channels=3,
            depth=18,
            num_stages=4,
            out_indices=(0, 1, 2, 3),
            dilations=(1, 1, 1, 1),
            strides=(1, 2, 2, 2),
            norm_cfg=norm_cfg,
            style='pytorch',
            contract_dilation=True,
        ),
        norm_cfg=norm_cfg,
        align_corners=False,
    ),
    decode_head=dict(head, in_channels=256, in_index=0, channels=256, num_convs=1),
    auxiliary_head=[
        dict(head, in_channels=128, channels=64, num_convs=1, in_index=1),
        dict(head, in_channels=128, channels=64, num_convs=1, in_index=2),
    ],
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
