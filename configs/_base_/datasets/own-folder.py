# Your own folder of images and masks, crops of 512x512. Change these three lines; the rest follows from them.
data_root = '{{$MMSEG_BISENET_DATA:data}}/own-folder'
classes = ('background', 'object')  # in the order of their ids in the masks: 0, 1 and so on
img_suffix = '.jpg'
# data_root holds images/train, images/val, masks/train and masks/val. The mask of images/train/a/b.jpg is
# masks/train/a/b.png: one channel of ids; 255 marks pixels to ignore. `mmseg-bisenet check-labels` checks the masks.
_base_ = './shared.py'
dataset_type = 'BaseSegDataset'
num_classes = len(classes)
crop_size = (512, 512)  # height, width of a training crop
scale = (2048, 512)  # width, height; images are resized to fit in it, for training and for testing
# Our commands check the masks for the classes of the model. MMSegmentation's scripts don't, because a config that
# inherits this one may have more classes, and they would check for two.
load_labels = dict(type='LoadAnnotations', _scope_='mmseg_bisenet', num_classes=256)
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
    batch_size=16,
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
