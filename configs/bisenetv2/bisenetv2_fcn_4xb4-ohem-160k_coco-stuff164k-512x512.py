# CoinCheung's learning rate and weight decay for COCO-Stuff 164k (configs/bisenetv2_coco.py, which trains 180k
# iterations on crops of 640x640). Iterations, crop and scales are those of MMSegmentation's V1.
_base_ = [
    '../_base_/models/bisenetv2-ohem.py',
    '../_base_/datasets/coco-stuff164k.py',
    '../_base_/schedules/schedule_160k_coincheung.py',
    '../_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=_base_.crop_size))
