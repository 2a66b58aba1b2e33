# Face parsing with V2, with the recipe of zllrunning/face-parsing.PyTorch for its V1.
_base_ = [
    '../_base_/models/bisenetv2-ohem.py',
    '../_base_/datasets/celebamask.py',
    '../_base_/schedules/schedule_80k_coincheung.py',
    '../_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    data_preprocessor=dict(size=_base_.crop_size),
    test_cfg=dict(nearest_labels=True),
)
