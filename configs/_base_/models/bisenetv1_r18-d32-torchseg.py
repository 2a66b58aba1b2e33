# BiSeNet V1 with ResNet-18 as the authors built it (TorchSeg, model/bisenet/cityscapes.bisenet.R18/network.py): fusion
# gate, upsampling and head widths differ from MMSegmentation's, and every loss mines.
_base_ = './bisenetv1_r18-d32.py'
norm_cfg = dict(type='SyncBN', requires_grad=True)
head = dict(
    align_corners=True,
    dropout_ratio=0,
    loss_decode=dict(type='mmseg_bisenet.OHEMCrossEntropyLoss', threshold=0.7, min_kept_fraction=1 / 16),
)
booster = dict(head, type='mmseg_bisenet.BoosterHead', in_channels=128, channels=256, norm_cfg=norm_cfg)
model = dict(
    backbone=dict(align_corners=True, fusion_gate='conv-act-conv'),
    decode_head=dict(head, channels=64),
    auxiliary_head=[dict(booster, in_index=1), dict(booster, in_index=2)],
)
