# What all data set files share: steps of the pipelines, loaders and evaluators. A data set file needs this file beside
# it: copy both. At its top, a data set file sets `crop_size` and `scale`. Change them there, and the pipelines follow.
# To change the crop in a leaf config instead, write there:
#
#     crop_size = (512, 1024)
#     train_pipeline = [dict(one, crop_size=crop_size) if 'crop_size' in one else one for one in _base_.train_pipeline]
#     train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
#     model = dict(data_preprocessor=dict(size=crop_size))
#
# `--cfg-options crop_size="(512,1024)"` and `scale="(1024,512)"` do the same on the command line of `mmseg-bisenet` and
# `mim ... mmseg_bisenet`. With the stock scripts they do not reach the pipelines: MMEngine applies options after it has
# built them.

# `_scope_` selects our loaders, which check what they read: an error names the file of a wrong image or label.
load_image = dict(type='LoadImageFromFile', _scope_='mmseg_bisenet')
flip = dict(type='RandomFlip', prob=0.5)
distort = dict(type='mmseg_bisenet.PhotoMetricDistortion')
# Instead of `distort`: larger changes, for streets with another light and camera. `*_base_.light` in a pipeline.
light = [
    dict(type='mmseg_bisenet.RandomLight'),
    dict(type='RandomGrayscale', prob=0.1, keep_channels=True, channel_weights=(0.114, 0.587, 0.299)),
    dict(type='mmseg_bisenet.RandomShadow'),
    dict(type='mmseg_bisenet.RandomBlur'),
    dict(type='mmseg_bisenet.RandomNoise'),
    dict(
        type='mmseg_bisenet.PhotoMetricDistortion',
        brightness_delta=48,
        contrast_range=(0.4, 1.6),
        saturation_range=(0.3, 1.7),
        hue_delta=18,
    ),
]
pack = dict(type='PackSegInputs')

# Test-time augmentation (`--aug-test`): every ratio, of the image's own size, with and without flip.
tta_ratios = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
tta_resizes = [dict(type='Resize', scale_factor=ratio, keep_ratio=True) for ratio in tta_ratios]
tta_flips = [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)]

train_dataloader = dict(
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='mmseg_bisenet.ResumableSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='mmseg_bisenet.SegmentationMetric')
test_evaluator = val_evaluator
