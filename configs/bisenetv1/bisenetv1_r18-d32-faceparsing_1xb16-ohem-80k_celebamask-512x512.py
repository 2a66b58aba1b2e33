# Face parsing with the network and the recipe of zllrunning/face-parsing.PyTorch, without the ImageNet weights that its
# ResNet starts from: to train the same, add `init_cfg` to backbone_cfg. Its crops are 448x448. `mmseg-bisenet convert`
# converts its checkpoints and facexlib's to ours.
_base_ = [
    '../_base_/models/bisenetv1_r18-d32-coincheung-early.py',
    '../_base_/datasets/celebamask.py',
    '../_base_/schedules/schedule_80k_coincheung.py',
    '../_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(spatial_path=False),
    test_cfg=dict(nearest_labels=True),
)
