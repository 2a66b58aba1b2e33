# MMSegmentation's recipe for Cityscapes, 4 images a GPU, from ImageNet weights.
_base_ = [
    '../_base_/models/bisenetv1_r18-d32.py',
    '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/schedules/schedule_160k.py',
    '../_base_/default_runtime.py',
]
# The ImageNet weights are of the ResNet that is built, with its 7x7 stem. Stock asks for `resnet18_v1c`, which has
# another stem.
init_cfg = dict(type='Pretrained', checkpoint='https://download.pytorch.org/models/resnet18-f37072fd.pth')
model = dict(
    num_classes=_base_.num_classes,
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(backbone_cfg=dict(init_cfg=init_cfg)),
)
