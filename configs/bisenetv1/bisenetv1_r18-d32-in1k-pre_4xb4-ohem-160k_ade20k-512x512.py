# CoinCheung's learning rate for V1 on COCO-Stuff (configs/bisenetv1_coco.py, 16 images a step). Its ADE20K config has
# another, for a batch that it does not tell; crop and scales are that config's.
_base_ = [
    '../_base_/models/bisenetv1_r18-d32-ohem.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/schedule_160k_coincheung.py',
    '../_base_/default_runtime.py',
]
# ImageNet weights of the network that is built, with its 7x7 stem.
model = dict(
    num_classes=_base_.num_classes,
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(
        backbone_cfg=dict(
            init_cfg=dict(type='Pretrained', checkpoint='https://download.pytorch.org/models/resnet18-f37072fd.pth')
        )
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
