# V1 on ADE20K, with CoinCheung's learning rate for V1 on COCO-Stuff (configs/bisenetv1_coco.py, 16 images a step). Its
# own config for ADE20K has another learning rate, for a batch size that it does not give. Crop and scales are those of
# its ADE20K config.
_base_ = [
    '../_base_/models/bisenetv1_r18-d32-ohem.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/schedule_160k_coincheung.py',
    '../_base_/default_runtime.py',
]
# The ImageNet weights are of the ResNet that is built, with its 7x7 stem.
init_cfg = dict(type='Pretrained', checkpoint='https://download.pytorch.org/models/resnet18-f37072fd.pth')
model = dict(
    num_classes=_base_.num_classes,
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(backbone_cfg=dict(init_cfg=init_cfg)),
)
optim_wrapper = dict(
    optimizer=dict(lr=0.01),
    paramwise_cfg=dict(custom_keys={'backbone.ffm': dict(lr_mult=10.0)}),  # the schedule has the heads
)
