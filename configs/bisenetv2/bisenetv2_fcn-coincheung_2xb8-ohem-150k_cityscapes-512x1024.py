# CoinCheung's configs/bisenetv2_city.py, without its pre-trained backbone (backbone_v2.pth). `mmseg-bisenet convert`
# converts its checkpoints to ours.
_base_ = [
    '../_base_/models/bisenetv2-coincheung.py',
    '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/schedules/schedule_coincheung.py',
    '../_base_/default_runtime.py',
]
crop_size = (512, 1024)
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=crop_size))
# Without `cat_max_ratio`: a crop may show one class only.
crop = dict(
    type='mmseg_bisenet.RandomResizedCrop',
    scale=_base_.scale,
    ratio_range=(0.25, 2.0),
    crop_size=crop_size,
)
train_pipeline = [_base_.load_image, _base_.load_labels, crop, _base_.flip, _base_.distort, _base_.pack]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
