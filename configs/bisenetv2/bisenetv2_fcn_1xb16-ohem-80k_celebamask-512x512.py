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
# V2 has no feature fusion module, whose learning rate the schedule of V1 raises.
heads = dict(lr_mult=10.0)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(_delete_=True, decode_head=heads, auxiliary_head=heads)))
