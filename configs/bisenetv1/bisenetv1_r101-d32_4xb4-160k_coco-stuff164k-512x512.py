# MMSegmentation's recipe for COCO-Stuff 164k, from scratch.
_base_ = [
    '../_base_/models/bisenetv1_r101-d32.py',
    '../_base_/datasets/coco-stuff164k.py',
    '../_base_/schedules/schedule_160k.py',
    '../_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=_base_.crop_size))
optim_wrapper = dict(optimizer=dict(lr=0.005))
