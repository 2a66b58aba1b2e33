# ADE20K, 150 classes, crops of 512x512. The data set class turns label 0 into 255, and 1 to 150 into 0 to 149.
_base_ = './shared.py'
data_root = '{{$MMSEG_BISENET_DATA:data}}/ade/ADEChallengeData2016'
dataset_type = 'ADE20KDataset'
num_classes = 150
crop_size = (512, 512)  # height, width of a training crop
scale = (2048, 512)  # width, height; images are resized to fit in it, for training and for testing
load_labels = dict(type='LoadAnnotations', _scope_='mmseg_bisenet', num_classes=num_classes)
random_crop = dict(
    type='mmseg_bisenet.RandomResizedCrop',
    scale=scale,
    ratio_range=(0.5, 2.0),
    crop_size=crop_size,
    cat_max_ratio=0.75,
)
train_pipeline = [_base_.load_image, load_labels, random_crop, _base_.flip, _base_.distort, _base_.pack]
# Labels are loaded after the resize, so that they keep their own size: the score is computed at that size.
test_pipeline = [_base_.load_image, dict(type='Resize', scale=scale, keep_ratio=True), load_labels, _base_.pack]
tta_pipeline = [
    _base_.load_image,
    dict(type='TestTimeAug', transforms=[_base_.tta_resizes, _base_.tta_flips, [load_labels], [_base_.pack]]),
]
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
