# BiSeNet V1 with ResNet-18 as CoinCheung built it (lib/models/bisenetv1.py). Images are normalised with its statistics
# of Cityscapes, for values from 0 to 1: mean (0.3257, 0.3690, 0.3223), deviation (0.2112, 0.2148, 0.2115). Every loss
# mines hard pixels, and the norms are not synchronised, as in its config for Cityscapes.
_base_ = './bisenetv1_r18-d32.py'
norm_cfg = dict(type='BN', requires_grad=True)
head = dict(
    dropout_ratio=0,
    norm_cfg=norm_cfg,
    loss_decode=dict(type='mmseg_bisenet.OHEMCrossEntropyLoss', threshold=0.7, min_kept_fraction=1 / 16),
)
data_preprocessor = dict(mean=[83.0535, 94.095, 82.1865], std=[53.856, 54.774, 53.9325])
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(fusion_gate='conv-norm', norm_cfg=norm_cfg),
    decode_head=head,
    auxiliary_head=[{**booster, **head} for booster in _base_.model.auxiliary_head],
)
