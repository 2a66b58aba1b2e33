# PaddleSeg's configs/bisenetv1, without the ImageNet weights that its ResNet starts from. `mmseg-bisenet convert`
# converts its checkpoints to ours.
_base_ = [
    '../_base_/models/bisenetv1_r18-d8-paddleseg.py',
    '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/schedules/schedule_160k.py',
    '../_base_/default_runtime.py',
]
crop_size = (512, 1024)
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=crop_size))
random_crop = dict(_base_.random_crop, crop_size=crop_size)
train_pipeline = [_base_.load_image, _base_.load_labels, random_crop, _base_.flip, _base_.distort, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = [dict(type='PolyLR', eta_min=0, power=0.9, begin=0, end=160000, by_epoch=False)]
