# MMSegmentation's network and recipe on CamVid, to compare ours with: 16 images, as its Cityscapes configs.
_base_ = [
    '../_base_/models/bisenetv1_r18-d32-stock.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/schedule_10k.py',
    '../_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=[dict(head, num_classes=_base_.num_classes) for head in _base_.model.auxiliary_head],
)
train_pipeline = [
    _base_.load_image,
    _base_.load_labels,
    dict(_base_.train_pipeline[2], ratio_range=(0.5, 2.0)),
    *_base_.train_pipeline[3:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=0.025))
