# CamVid, 11 classes, SegNet split and size; `mmseg-bisenet convert-camvid` makes the folders.
data_root = '{{$MMSEG_BISENET_DATA:data}}/camvid'
dataset_type = 'mmseg_bisenet.CamVidDataset'
num_classes = 11
crop_size = (360, 480)
# 1 / ln(1.02 + share of pixels) of the training labels, as in ENet (arXiv 1606.02147, section 4), scaled to a mean of 1
# over the pixels: for losses that shall find poles, signs and bicyclists.
class_weight = [0.8, 0.613, 4.793, 0.476, 2.211, 1.248, 4.503, 4.57, 1.832, 5.427, 6.269]
# The checked versions of the stock loaders: they name the file where an image or a label is wrong.
load_image = dict(type='LoadImageFromFile', _scope_='mmseg_bisenet')
load_labels = dict(type='LoadAnnotations', _scope_='mmseg_bisenet', num_classes=num_classes)
train_pipeline = [
    load_image,
    load_labels,
    dict(
        type='mmseg_bisenet.RandomResizedCrop',
        scale=(480, 360),
        ratio_range=(0.75, 2.0),
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
    dict(type='Resize', scale=(480, 360), keep_ratio=True),
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
        data_prefix=dict(img_path='images/train', seg_map_path='labels/train'),
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
        data_prefix=dict(img_path='images/val', seg_map_path='labels/val'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='mmseg_bisenet.SegmentationMetric')
test_evaluator = val_evaluator
