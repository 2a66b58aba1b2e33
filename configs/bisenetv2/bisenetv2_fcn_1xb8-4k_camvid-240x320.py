# The recipe of the weights that ship with the package (`bisenetv2_camvid`), at the size of two CPU cores.
_base_ = ['./bisenetv2_fcn_1xb8-400it_camvid-176x240.py']
crop_size = (240, 320)
loss = dict(type='mmseg_bisenet.CrossEntropyLoss', class_weight=_base_.class_weight)
model = dict(
    data_preprocessor=dict(size=crop_size),
    decode_head=dict(loss_decode=loss),
    auxiliary_head=[dict(head, loss_decode=loss) for head in _base_.model.auxiliary_head],
)
train_pipeline = [
    _base_.load_image,
    _base_.load_labels,
    dict(_base_.train_pipeline[2], ratio_range=(0.5, 1.5), crop_size=crop_size),
    *_base_.train_pipeline[3:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=100, by_epoch=False),
    dict(type='PolyLR', eta_min=1e-5, power=0.9, begin=100, end=4000, by_epoch=False),
]
train_cfg = dict(max_iters=4000, val_interval=1000)
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=1000))
