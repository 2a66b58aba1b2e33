# BiSeNet V1 with ResNet-101 as the authors built it (TorchSeg, model/bisenet/cityscapes.bisenet.R101/network.py). The
# stem has three 3x3 convolutions and is twice as wide as MMSegmentation's. Outside the ResNet, the widths are those of
# R18.
_base_ = './bisenetv1_r18-d32-torchseg.py'
model = dict(
    backbone=dict(
        backbone_cfg=dict(type='ResNetV1c', depth=101, stem_channels=128),
        context_channels=(128, 1024, 2048),
    ),
    decode_head=dict(channels=256),
)
