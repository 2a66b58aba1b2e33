# CoinCheung's configs/bisenetv2_ade20k.py, but with MMSegmentation's crops of 512x512 instead of 640x640.
_base_ = [
    '../_base_/models/bisenetv2-ohem.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/schedule_160k_coincheung.py',
    '../_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=_base_.crop_size))
