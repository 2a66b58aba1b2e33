# CoinCheung's configs/bisenetv2_city.py, without its pre-trained backbone (backbone_v2.pth); `mmseg-bisenet convert`
# makes its checkpoints ours.
_base_ = [
    '../_base_/models/bisenetv2-coincheung.py',
    '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/schedules/schedule_coincheung.py',
    '../_base_/default_runtime.py',
]
crop_size = (512, 1024)
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=crop_size))
train_pipeline = [
    _base_.load_image,
    _base_.load_labels,
    dict(
        type='mmseg_bisenet.RandomResizedCrop',
        scale=(2048, 1024),
        ratio_range=(0.25, 2.0),
        crop_size=crop_size,
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='mmseg_bisenet.PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
