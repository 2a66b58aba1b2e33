# The second and third step of the recipe of the weights that ship with the package (`bisenetv2_camvid`): all 468
# photographs, and the larger changes of light. The second starts from the weights of
# `bisenetv2_fcn_1xb8-4k_camvid-240x320` (`--from`), the third from those of the second, with another seed. The
# validation images are among its training images: their score says only that the training worked.
_base_ = [
    '../_base_/models/bisenetv2.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/schedule_400_adamw.py',
    '../_base_/default_runtime.py',
]
crop_size = (240, 320)
loss = dict(type='mmseg_bisenet.CrossEntropyLoss', class_weight=_base_.class_weight)
model = dict(
    num_classes=_base_.num_classes,
    data_preprocessor=dict(size=crop_size),
    backbone=dict(zero_init_last_norm=True),
    decode_head=dict(loss_decode=loss),
    auxiliary_head=[dict(head, loss_decode=loss) for head in _base_.model.auxiliary_head],
    channels_last=True,
)
random_crop = dict(_base_.random_crop, ratio_range=(0.5, 1.5), crop_size=crop_size)
train_pipeline = [_base_.load_image, _base_.load_labels, random_crop, _base_.flip, *_base_.light, _base_.pack]
folders = dict(img_path='images', seg_map_path='labels')
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(data_prefix=folders, prefixes=['0001TP_', '0006R0_', '0016E5_'], pipeline=train_pipeline),
)
optim_wrapper = dict(optimizer=dict(lr=0.001))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=100, by_epoch=False),
    dict(type='PolyLR', eta_min=1e-5, power=0.9, begin=100, end=5000, by_epoch=False),
]
train_cfg = dict(max_iters=5000, val_interval=2500)
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=500))
