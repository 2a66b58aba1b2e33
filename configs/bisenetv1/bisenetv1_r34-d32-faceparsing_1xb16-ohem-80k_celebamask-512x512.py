# Face parsing with ResNet-34, otherwise as with ResNet-18.
_base_ = [
    '../_base_/models/bisenetv1_r18-d32-coincheung-early.py',
    '../_base_/datasets/celebamask.py',
    '../_base_/schedules/schedule_80k_coincheung.py',
    '../_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(spatial_path=False, backbone_cfg=dict(depth=34)),
    test_cfg=dict(nearest_labels=True),
)
