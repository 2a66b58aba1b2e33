# Synthetic street scenes, 300 iterations: trains a network of full width in minutes on two cores, to measure runtimes
# with.
_base_ = [
    '../_base_/models/bisenetv2.py',
    '../_base_/datasets/miniscapes.py',
    '../_base_/schedules/schedule_300_adamw.py',
    '../_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=_base_.crop_size), channels_last=True)
