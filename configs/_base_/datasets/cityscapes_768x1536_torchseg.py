# Cityscapes with the `speed` recipe of V1's authors (TorchSeg): crops of 768x1536. Test images are resized to the same
# size; the score is computed at the labels' own size.
_base_ = './shared.py'
data_root = '{{$MMSEG_BISENET_DATA:data}}/cityscapes'
dataset_type = 'CityscapesDataset'
num_classes = 19
crop_size = (768, 1536)  # height, width of a training crop
scale = (1536, 768)  # width, height; test images are resized to fit in it
load_labels = dict(type='LoadAnnotations', _scope_='mmseg_bisenet', num_classes=num_classes)
random_crop = dict(
    type='mmseg_bisenet.RandomResizedCrop',
    scales=[(1536, 768), (2048, 1024), (2560, 1280), (3072, 1536), (3584, 1792), (4096, 2048)],
    crop_size=crop_size,
)
train_pipeline = [_base_.load_image, load_labels, random_crop, _base_.flip, _base_.pack]
# Labels are loaded after the resize, so that they keep their own size: the score is computed at that size.
test_pipeline = [_base_.load_image, dict(type='Resize', scale=scale, keep_ratio=True), load_labels, _base_.pack]
# The ratios multiply `scale`, not the image's own size.
tta_resizes = [
    dict(type='Resize', scale=(int(scale[0] * ratio), int(scale[1] * ratio)), keep_ratio=True)
    for ratio in _base_.tta_ratios
]
tta_pipeline = [
    _base_.load_image,
    dict(type='TestTimeAug', transforms=[tta_resizes, _base_.tta_flips, [load_labels], [_base_.pack]]),
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
