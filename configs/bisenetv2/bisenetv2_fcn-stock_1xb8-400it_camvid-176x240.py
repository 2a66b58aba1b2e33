# MMSegmentation's network and recipe (SGD, weight decay on all, cross entropy, scales 0.5 to 2) at the size of two CPU
# cores, for `results/camvid_recipes.csv`. The learning rate is that of 16 images, halved.
_base_ = [
    '../_base_/models/bisenetv2-stock.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/schedule_10k.py',
    '../_base_/default_runtime.py',
]
crop_size = (176, 240)
model = dict(
    data_preprocessor=dict(size=crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=[dict(head, num_classes=_base_.num_classes) for head in _base_.model.auxiliary_head],
)
train_pipeline = [
    _base_.load_image,
    _base_.load_labels,
    dict(_base_.train_pipeline[2], ratio_range=(0.5, 2.0), crop_size=crop_size),
    *_base_.train_pipeline[3:],
]
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=0.025))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=20, by_epoch=False),
    dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=20, end=400, by_epoch=False),
]
train_cfg = dict(max_iters=400, val_interval=400)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=400))
auto_scale_lr = dict(base_batch_size=8)
