# TorchSeg's model/bisenet/cityscapes.bisenet.X39, from scratch. `mmseg-bisenet convert` converts its checkpoints to
# ours.
_base_ = [
    '../_base_/models/bisenetv1_x39-d32.py',
    '../_base_/datasets/cityscapes_1024x1024_torchseg.py',
    '../_base_/schedules/schedule_torchseg.py',
    '../_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=_base_.crop_size))
