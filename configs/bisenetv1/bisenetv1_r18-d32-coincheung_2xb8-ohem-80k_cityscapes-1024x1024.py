# CoinCheung's configs/bisenetv1_city.py, without the ImageNet weights that its ResNet starts from. `mmseg-bisenet
# convert` converts its checkpoints to ours.
_base_ = [
    '../_base_/models/bisenetv1_r18-d32-coincheung.py',
    '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/schedules/schedule_80k_coincheung.py',
    '../_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=_base_.crop_size))
# Without `cat_max_ratio`: a crop may show one class only.
crop = dict(
    type='mmseg_bisenet.RandomResizedCrop',
    scale=_base_.scale,
    ratio_range=(0.75, 2.0),
    crop_size=_base_.crop_size,
)
train_pipeline = [_base_.load_image, _base_.load_labels, crop, _base_.flip, _base_.distort, _base_.pack]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
