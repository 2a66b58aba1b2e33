# MMSegmentation's schedule for BiSeNet: linear warm-up, then poly. The leaf config sets the learning rate. The other
# schedules take the loops and hooks from this file.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.025, momentum=0.9, weight_decay=0.0005),
    clip_grad=None,
    constructor='mmseg_bisenet.ParamwiseConstructor',
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=1000, by_epoch=False),
    dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=1000, end=160000, by_epoch=False),
]
train_cfg = dict(type='mmseg_bisenet.ResumableTrainLoop', max_iters=160000, val_interval=16000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='mmseg_bisenet.MainLoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='mmseg_bisenet.AtomicCheckpointHook', by_epoch=False, interval=16000, save_best='mIoU', rule='greater'
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook', interval=1),  # draws every image of `--show-dir`
    pictures=dict(type='mmseg_bisenet.ValidationPicturesHook'),
    curves=dict(type='mmseg_bisenet.CurvesHook'),
    scores=dict(type='mmseg_bisenet.EvaluationHook'),
    finite=dict(type='mmseg_bisenet.NonFiniteLossHook'),
)
# When enabled, the learning rate is multiplied by (images per step) / base_batch_size.
auto_scale_lr = dict(enable=False, base_batch_size=16)
