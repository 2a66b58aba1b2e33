# The recipe of `bisenetv2_fcn_1xb8-4k_camvid-240x320`, which was chosen on the validation images, at full size.
_base_ = [
    '../_base_/models/bisenetv2.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/schedule_10k_adamw.py',
    '../_base_/default_runtime.py',
]
loss = dict(type='mmseg_bisenet.CrossEntropyLoss', class_weight=_base_.class_weight)
model = dict(
    num_classes=_base_.num_classes,
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(zero_init_last_norm=True),
    decode_head=dict(loss_decode=loss),
    auxiliary_head=[dict(head, loss_decode=loss) for head in _base_.model.auxiliary_head],
    channels_last=True,
)
random_crop = dict(_base_.random_crop, ratio_range=(0.5, 1.5))
train_pipeline = [_base_.load_image, _base_.load_labels, random_crop, _base_.flip, _base_.distort, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
