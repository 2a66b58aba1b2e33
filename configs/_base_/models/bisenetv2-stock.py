# MMSegmentation's own BiSeNetV2 and heads, for comparison. Outside the heads, its norms are plain BN.
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
        type='BiSeNetV2',
        detail_channels=(64, 64, 128),
        semantic_channels=(16, 32, 64, 128),
        semantic_expansion_ratio=6,
        bga_channels=128,
        out_indices=(0, 1, 2, 3, 4),
        align_corners=False,
    ),
    decode_head=dict(head, in_channels=128, in_index=0, channels=1024, num_convs=1),
    auxiliary_head=[
        dict(head, in_channels=16, channels=16, num_convs=2, in_index=1),
        dict(head, in_channels=32, channels=64, num_convs=2, in_index=2),
        dict(head, in_channels=64, channels=256, num_convs=2, in_index=3),
        dict(head, in_channels=128, channels=1024, num_convs=2, in_index=4),
    ],
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
