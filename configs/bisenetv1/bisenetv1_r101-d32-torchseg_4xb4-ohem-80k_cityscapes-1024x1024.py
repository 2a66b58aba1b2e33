# TorchSeg's model/bisenet/cityscapes.bisenet.R101. `mmseg-bisenet convert` converts its checkpoints to ours. Its ResNet
# starts from ImageNet weights; none are published with this stem.
_base_ = [
    '../_base_/models/bisenetv1_r101-d32-torchseg.py',
    '../_base_/datasets/cityscapes_1024x1024_torchseg.py',
    '../_base_/schedules/schedule_torchseg_80k.py',
    '../_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=_base_.crop_size))
