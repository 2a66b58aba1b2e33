# BiSeNet V1 with Xception39 as the authors built it (TorchSeg, model/bisenet/cityscapes.bisenet.X39/network.py).
_base_ = './bisenetv1_r18-d32-torchseg.py'
model = dict(
    backbone=dict(
        backbone_cfg=dict(_delete_=True, type='mmseg_bisenet.Xception39'),
        context_channels=(128, 128, 256),
    ),
    auxiliary_head=[dict(head, channels=128) for head in _base_.model.auxiliary_head],
)
