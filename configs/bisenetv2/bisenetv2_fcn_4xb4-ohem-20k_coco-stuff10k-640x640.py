# V2's paper on COCO-Stuff, as third parties quote it: 20k iterations from scratch.
_base_ = [
    '../_base_/models/bisenetv2-ohem.py',
    '../_base_/datasets/coco-stuff10k.py',
    '../_base_/schedules/schedule_20k.py',
    '../_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=_base_.crop_size))
