_base_ = [
    '../_base_/models/bisenetv1_r18-d32.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/schedule_10k.py',
    '../_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=_base_.crop_size))
