# PaddleSeg's configs/bisenet. `mmseg-bisenet convert` converts its checkpoints to ours.
_base_ = [
    '../_base_/models/bisenetv2-paddleseg.py',
    '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/schedules/schedule_160k.py',
    '../_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=_base_.crop_size))
optim_wrapper = dict(optimizer=dict(lr=0.05))
param_scheduler = [dict(type='PolyLR', eta_min=0, power=0.9, begin=0, end=160000, by_epoch=False)]
