# The `speed` recipe of V1's authors (TorchSeg): crops of 768x1536, and test images shrunk to that size; the score is
# taken at the labels' own.
_base_ = './cityscapes_1024x1024_torchseg.py'
crop_size = (768, 1536)
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(_base_.train_pipeline[2], crop_size=crop_size),
    *_base_.train_pipeline[3:],
]
test_pipeline = [
    _base_.load_image,
    dict(type='Resize', scale=(1536, 768), keep_ratio=True),
    *_base_.test_pipeline[2:],
]
tta_pipeline = [
    _base_.load_image,
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=(int(1536 * ratio), int(768 * ratio)), keep_ratio=True)
                for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
            ],
            *_base_.tta_pipeline[1]['transforms'][1:],
        ],
    ),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
