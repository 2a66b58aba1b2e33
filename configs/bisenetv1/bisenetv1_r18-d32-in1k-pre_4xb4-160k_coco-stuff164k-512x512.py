_base_ = './bisenetv1_r18-d32_4xb4-160k_coco-stuff164k-512x512.py'
# ImageNet weights of the network that is built, with its 7x7 stem (stock names `resnet18_v1c`, which has another).
model = dict(
    backbone=dict(
        backbone_cfg=dict(
            init_cfg=dict(type='Pretrained', checkpoint='https://download.pytorch.org/models/resnet18-f37072fd.pth')
        )
    )
)
