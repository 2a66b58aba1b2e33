_base_ = './bisenetv1_r50-d32.py'
model = dict(backbone=dict(backbone_cfg=dict(depth=101)))
