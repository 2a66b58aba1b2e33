# The config of the demo: synthetic street scenes and narrow heads; trains in minutes on two cores.
_base_ = [
    '../_base_/models/bisenetv2-narrow.py',
    '../_base_/datasets/miniscapes.py',
    '../_base_/schedules/schedule_400_demo.py',
    '../_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=_base_.crop_size))
