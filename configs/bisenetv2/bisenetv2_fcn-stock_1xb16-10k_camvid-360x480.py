# MMSegmentation's network and recipe on CamVid, for comparison with ours: 16 images a step, as in its Cityscapes
# configs.
_base_ = [
    '../_base_/models/bisenetv2-stock.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/schedule_10k.py',
    '../_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=[dict(head, num_classes=_base_.num_classes) for head in _base_.model.auxiliary_head],
)
random_crop = dict(_base_.random_crop, ratio_range=(0.5, 2.0))
train_pipeline = [_base_.load_image, _base_.load_labels, random_crop, _base_.flip, _base_.distort, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=0.05))
