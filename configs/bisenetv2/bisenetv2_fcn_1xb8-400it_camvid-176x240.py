# Our recipe at the size of two CPU cores, for `results/accuracy_camvid-176x240_2-core-cpu.csv`: AdamW without weight
# decay on norms and biases, last norms that start at zero, and scales that keep small objects in small crops. Mining
# does not pay in 400 iterations, in which most pixels are hard.
_base_ = [
    '../_base_/models/bisenetv2.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/schedule_400_adamw.py',
    '../_base_/default_runtime.py',
]
crop_size = (176, 240)
model = dict(
    num_classes=_base_.num_classes,
    data_preprocessor=dict(size=crop_size),
    backbone=dict(zero_init_last_norm=True),
    channels_last=True,
)
train_pipeline = [
    _base_.load_image,
    _base_.load_labels,
    dict(_base_.train_pipeline[2], ratio_range=(0.5, 1.25), crop_size=crop_size),
    *_base_.train_pipeline[3:],
]
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=train_pipeline))
