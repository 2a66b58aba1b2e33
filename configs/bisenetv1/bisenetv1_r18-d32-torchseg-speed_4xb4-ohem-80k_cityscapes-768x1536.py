# TorchSeg's model/bisenet/cityscapes.bisenet.R18.speed: smaller images, and labels at 1/8 of their size.
_base_ = [
    '../_base_/models/bisenetv1_r18-d32-torchseg.py',
    '../_base_/datasets/cityscapes_768x1536_torchseg.py',
    '../_base_/schedules/schedule_torchseg_80k.py',
    '../_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(label_stride=8),
    auxiliary_head=[dict(head, label_stride=8, channels=128) for head in _base_.model.auxiliary_head],
)
