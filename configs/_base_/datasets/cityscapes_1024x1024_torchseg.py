# Cityscapes with the augmentation of V1's authors (TorchSeg): six scales, flip and crop, no change of colours.
_base_ = './cityscapes_1024x1024.py'
train_pipeline = [
    _base_.load_image,
    _base_.load_labels,
    dict(
        type='mmseg_bisenet.RandomResizedCrop',
        scales=[(1536, 768), (2048, 1024), (2560, 1280), (3072, 1536), (3584, 1792), (4096, 2048)],
        crop_size=_base_.crop_size,
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
