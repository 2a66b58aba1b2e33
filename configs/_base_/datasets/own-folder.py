# Your own folder of images and masks, crops of 512x512. Change these three lines; all else follows from them.
data_root = '{{$MMSEG_BISENET_DATA:data}}/own-folder'
classes = ('background', 'object')  # in the order of their ids in the masks: 0, 1 and so on
img_suffix = '.jpg'
# data_root holds images/train, images/val, masks/train and masks/val. images/train/a/b.jpg has its mask in
# masks/train/a/b.png: one channel of ids, 255 where a pixel counts for nothing. `mmseg-bisenet check-labels` checks it.
dataset_type = 'BaseSegDataset'
num_classes = len(classes)
crop_size = (512, 512)
# The checked versions of the stock loaders: they name the file where an image or a label is wrong.
load_image = dict(type='LoadImageFromFile', _scope_='mmseg_bisenet')
load_labels = dict(type='LoadAnnotations', _scope_='mmseg_bisenet', num_classes=num_classes)
train_pipeline = [
    load_image,
    load_labels,
    dict(
        type='mmseg_bisenet.RandomResizedCrop',
        scale=(2048, 512),
        ratio_range=(0.5, 2.0),
        crop_size=crop_size,
        cat_max_ratio=0.75,
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='mmseg_bisenet.PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
# Labels come after the resize: the score is taken at their own size.
test_pipeline = [
    load_image,
    dict(type='Resize', scale=(2048, 512), keep_ratio=True),
    load_labels,
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    load_image,
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale_factor=ratio, keep_ratio=True) for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)],
            [
                dict(type='RandomFlip', prob=0.0, direction='horizontal'),
                dict(type='RandomFlip', prob=1.0, direction='horizontal'),
            ],
            [load_labels],
            [dict(type='PackSegInputs')],
        ],
    ),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='mmseg_bisenet.ResumableSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=dict(classes=classes),
        img_suffix=img_suffix,
        data_prefix=dict(img_path='images/train', seg_map_path='masks/train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=dict(classes=classes),
        img_suffix=img_suffix,
        data_prefix=dict(img_path='images/val', seg_map_path='masks/val'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='mmseg_bisenet.SegmentationMetric')
test_evaluator = val_evaluator
