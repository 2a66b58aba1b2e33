_base_ = './bisenetv1_r50-d32_4xb4-160k_cityscapes-1024x1024.py'
# ImageNet weights of the network that is built, with its 7x7 stem (stock names `resnet50_v1c`, which has another).
model = dict(
    backbone=dict(
        backbone_cfg=dict(
            init_cfg=dict(type='Pretrained', checkpoint='https://download.pytorch.org/models/resnet50-0676ba61.pth')
        )
    )
)
