# BiSeNet V1 with ResNet-50: every width outside it is four times that of ResNet-18, as MMSegmentation has it.
_base_ = './bisenetv1_r18-d32.py'
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    backbone=dict(
        spatial_channels=(256, 256, 256, 512),
        context_channels=(512, 1024, 2048),
        out_channels=1024,
        backbone_cfg=dict(depth=50),
    ),
    decode_head=dict(in_channels=1024, channels=1024),
    auxiliary_head=[
        dict(type='mmseg_bisenet.BoosterHead', in_channels=512, channels=256, in_index=1, norm_cfg=norm_cfg),
        dict(type='mmseg_bisenet.BoosterHead', in_channels=512, channels=256, in_index=2, norm_cfg=norm_cfg),
    ],
)
