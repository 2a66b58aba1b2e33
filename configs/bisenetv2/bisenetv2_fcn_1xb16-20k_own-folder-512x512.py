# Your own data. The three lines to change are in ../_base_/datasets/own-folder.py.
_base_ = [
    '../_base_/models/bisenetv2.py',
    '../_base_/datasets/own-folder.py',
    '../_base_/schedules/schedule_20k_warmup.py',
    '../_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=_base_.crop_size))
