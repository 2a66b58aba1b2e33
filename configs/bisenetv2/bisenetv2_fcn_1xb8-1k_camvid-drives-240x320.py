# The recipe of `bisenetv2_fcn_1xb8-4k_camvid-240x320` in 1,000 iterations, trained on two of CamVid's three drives and
# tested on the third. The usual validation images are frames of a training drive. `benchmarks.accuracy --leave-one-out`
# leaves each drive out in turn. A prefix ends in `_`, because the command line would read 0016E5 as a number.
_base_ = './bisenetv2_fcn_1xb8-4k_camvid-240x320.py'
folders = dict(img_path='images', seg_map_path='labels')
train_dataloader = dict(dataset=dict(data_prefix=folders, prefixes=['0001TP_', '0006R0_']))
val_dataloader = dict(dataset=dict(data_prefix=folders, prefixes=['0016E5_']))
test_dataloader = val_dataloader
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=50, by_epoch=False),
    dict(type='PolyLR', eta_min=1e-5, power=0.9, begin=50, end=1000, by_epoch=False),
]
train_cfg = dict(max_iters=1000, val_interval=1000)
