# CelebAMask-HQ, 19 classes, crops of 512x512. `mmseg-bisenet convert-celebamask` makes the folders.
_base_ = './shared.py'
data_root = '{{$MMSEG_BISENET_DATA:data}}/celebamask'
dataset_type = 'mmseg_bisenet.CelebAMaskHQDataset'
num_classes = 19
crop_size = (512, 512)  # height, width of a training crop
scale = (512, 512)  # width, height; images are resized to it, for training times one of six ratios
load_labels = dict(type='LoadAnnotations', _scope_='mmseg_bisenet', num_classes=num_classes)
# The six scales of zllrunning/face-parsing.PyTorch.
random_crop = dict(
    type='mmseg_bisenet.RandomResizedCrop',
    scales=[(384, 384), (512, 512), (640, 640), (768, 768), (896, 896), (1024, 1024)],
    crop_size=crop_size,
)
# Left and right are the person's: brows, eyes and ears change sides in a mirror.
flip = dict(type='RandomFlip', prob=0.5, swap_seg_labels=[(2, 3), (4, 5), (7, 8)])
train_pipeline = [_base_.load_image, load_labels, random_crop, flip, _base_.distort, _base_.pack]
# Images of any shape become square, as in that code. Labels are loaded after the resize, so that they keep their own
# size: the score is computed at that size.
test_pipeline = [_base_.load_image, dict(type='Resize', scale=scale, keep_ratio=False), load_labels, _base_.pack]
# The ratios multiply `scale`. No view is flipped: the network takes left for right in a mirror.
tta_resizes = [
    dict(type='Resize', scale=(int(scale[0] * ratio), int(scale[1] * ratio)), keep_ratio=False)
    for ratio in _base_.tta_ratios
]
tta_pipeline = [
    _base_.load_image,
    dict(type='TestTimeAug', transforms=[tta_resizes, [load_labels], [_base_.pack]]),
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
