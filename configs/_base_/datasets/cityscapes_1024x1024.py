# Cityscapes, 19 classes, crops of 1024x1024.
_base_ = './shared.py'
data_root = '{{$MMSEG_BISENET_DATA:data}}/cityscapes'
dataset_type = 'CityscapesDataset'
num_classes = 19
crop_size = (1024, 1024)  # height, width of a training crop
scale = (2048, 1024)  # width, height; images are resized to fit in it, for training and for testing
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
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
