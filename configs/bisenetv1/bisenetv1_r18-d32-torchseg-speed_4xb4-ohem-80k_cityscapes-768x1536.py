# TorchSeg's model/bisenet/cityscapes.bisenet.R18.speed: a smaller image, and labels at an eighth of its size.
_base_ = './bisenetv1_r18-d32-torchseg_4xb4-ohem-80k_cityscapes-1024x1024.py'
crop_size = (768, 1536)
model = dict(
    data_preprocessor=dict(size=crop_size),
    decode_head=dict(label_stride=8),
    auxiliary_head=[dict(head, label_stride=8, channels=128) for head in _base_.model.auxiliary_head],
)
train_pipeline = [
    *_base_.train_pipeline[:3],
    dict(type='RandomCrop', crop_size=crop_size),
    *_base_.train_pipeline[4:],
]
# Test images are shrunk to that size; the score is taken at the labels' own.
test_pipeline = [
    _base_.load_image,
    dict(type='Resize', scale=(1536, 768), keep_ratio=True),
    *_base_.test_pipeline[2:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
