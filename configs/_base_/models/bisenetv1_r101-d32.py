# BiSeNet V1 with ResNet-101, otherwise as with ResNet-50.
_base_ = './bisenetv1_r50-d32.py'
model = dict(backbone=dict(backbone_cfg=dict(depth=101)))
