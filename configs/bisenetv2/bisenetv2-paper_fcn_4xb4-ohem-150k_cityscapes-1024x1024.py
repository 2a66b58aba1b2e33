# V2 in the reading that is closest to the paper's cost, with the schedule of the paper.
_base_ = [
    '../_base_/models/bisenetv2-paper.py',
    '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/schedules/schedule_150k.py',
    '../_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=_base_.crop_size))
