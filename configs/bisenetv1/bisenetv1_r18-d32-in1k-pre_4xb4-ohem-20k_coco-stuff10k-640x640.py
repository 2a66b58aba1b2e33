# V1's paper on COCO-Stuff, as third parties quote it: learning rate, weight decay, size and ImageNet weights. They give
# neither the number of iterations nor the loss. The iterations are those of V2's paper; the loss is that of the V1
# authors' code for Cityscapes.
_base_ = [
    '../_base_/models/bisenetv1_r18-d32-ohem.py',
    '../_base_/datasets/coco-stuff10k.py',
    '../_base_/schedules/schedule_20k.py',
    '../_base_/default_runtime.py',
]
# The ImageNet weights are of the ResNet that is built, with its 7x7 stem.
init_cfg = dict(type='Pretrained', checkpoint='https://download.pytorch.org/models/resnet18-f37072fd.pth')
model = dict(
    num_classes=_base_.num_classes,
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(backbone_cfg=dict(init_cfg=init_cfg)),
)
optim_wrapper = dict(optimizer=dict(lr=0.025))
