# COCO-Stuff 10k, 171 classes, crops of 640x640 and scales of 0.75 to 2, as third parties quote V1's paper.
# MMSegmentation's tools/dataset_converters/coco_stuff10k.py makes the labels. In them, 0 is no class; when they are
# read, 0 becomes 255, and 1 to 171 become 0 to 170.
_base_ = './shared.py'
data_root = '{{$MMSEG_BISENET_DATA:data}}/coco_stuff10k'
dataset_type = 'COCOStuffDataset'
num_classes = 171
crop_size = (640, 640)  # height, width of a training crop
scale = (2560, 640)  # width, height; images are resized to fit in it, for training and for testing
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
    batch_size=4,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        reduce_zero_label=True,
        data_prefix=dict(img_path='images/train2014', seg_map_path='annotations/train2014'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        reduce_zero_label=True,
        data_prefix=dict(img_path='images/test2014', seg_map_path='annotations/test2014'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
