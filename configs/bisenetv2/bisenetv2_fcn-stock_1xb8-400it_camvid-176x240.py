# MMSegmentation's network and recipe (SGD, weight decay on all parameters, cross entropy, scales 0.5 to 2) at a size
# for two CPU cores. Its scores are in `results/accuracy_camvid-176x240_2-core-cpu.csv`.
_base_ = [
    '../_base_/models/bisenetv2-stock.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/schedule_400_stock.py',
    '../_base_/default_runtime.py',
]
crop_size = (176, 240)
model = dict(
    data_preprocessor=dict(size=crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=[dict(head, num_classes=_base_.num_classes) for head in _base_.model.auxiliary_head],
)
random_crop = dict(_base_.random_crop, ratio_range=(0.5, 2.0), crop_size=crop_size)
train_pipeline = [_base_.load_image, _base_.load_labels, random_crop, _base_.flip, _base_.distort, _base_.pack]
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=train_pipeline))
