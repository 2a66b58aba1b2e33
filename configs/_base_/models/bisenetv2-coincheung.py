# BiSeNet V2 as CoinCheung built it (lib/models/bisenetv2.py). Images are normalised with its statistics of Cityscapes,
# for values from 0 to 1: mean (0.3257, 0.3690, 0.3223), deviation (0.2112, 0.2148, 0.2115). Every loss mines hard
# pixels. CoinCheung's boosters upsample before a second convolution; these have only the first, of the same width.
_base_ = './bisenetv2.py'
head = dict(
    loss_decode=dict(type='mmseg_bisenet.OHEMCrossEntropyLoss', threshold=0.7, min_kept_fraction=1 / 16),
)
data_preprocessor = dict(mean=[83.0535, 94.095, 82.1865], std=[53.856, 54.774, 53.9325])
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(upsample='nearest', pointwise_bias=False, zero_init_last_norm=True),
    decode_head=head,
    auxiliary_head=[dict(booster, **head, channels=128, num_convs=1) for booster in _base_.model.auxiliary_head],
)
