# What every data set file here takes from one place: the steps of the pipelines, the loaders and the evaluators. Each
# step has a name. To change one, write the pipeline again with `_base_.NAME` for the others, as the data set files do.
# A data set file needs this file beside it: copy both.

# These loaders check what they read; an error names the file of a wrong image or label.
load_image = dict(type='LoadImageFromFile', _scope_='mmseg_bisenet')
flip = dict(type='RandomFlip', prob=0.5)
distort = dict(type='mmseg_bisenet.PhotoMetricDistortion')
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
