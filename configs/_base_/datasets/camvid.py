# CamVid, 11 classes, SegNet split and size. `mmseg-bisenet convert-camvid` makes the folders.
_base_ = './shared.py'
data_root = '{{$MMSEG_BISENET_DATA:data}}/camvid'
dataset_type = 'mmseg_bisenet.CamVidDataset'
num_classes = 11
crop_size = (360, 480)  # height, width of a training crop
scale = (480, 360)  # width, height; images are resized to fit in it, for training and for testing
# Weights of the classes for the loss, so that it does not neglect poles, signs and bicyclists: 1 / ln(1.02 + share of
# pixels) of the training labels, as in ENet (arXiv 1606.02147, section 4), scaled to a mean of 1 over the pixels.
class_weight = [0.8, 0.613, 4.793, 0.476, 2.211, 1.248, 4.503, 4.57, 1.832, 5.427, 6.269]
load_labels = dict(type='LoadAnnotations', _scope_='mmseg_bisenet', num_classes=num_classes)
random_crop = dict(
    type='mmseg_bisenet.RandomResizedCrop',
    scale=scale,
    ratio_range=(0.75, 2.0),
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
    batch_size=16,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/train', seg_map_path='labels/train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/val', seg_map_path='labels/val'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
