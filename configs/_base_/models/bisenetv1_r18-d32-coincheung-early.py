# BiSeNet V1 with ResNet-18 as CoinCheung first built it (model.py): a fusion gate of two convolutions, a quarter of the
# channels between them, and logits upsampled with aligned corners. Every loss mines hard pixels. Networks for face
# parsing are the same with `spatial_path=False`.
_base_ = './bisenetv1_r18-d32.py'
norm_cfg = dict(type='BN', requires_grad=True)
head = dict(
    align_corners=True,
    dropout_ratio=0,
    norm_cfg=norm_cfg,
    loss_decode=dict(type='mmseg_bisenet.OHEMCrossEntropyLoss', threshold=0.7, min_kept_fraction=1 / 16),
)
model = dict(
    backbone=dict(fusion_gate='conv-act-conv', fusion_reduction=4, norm_cfg=norm_cfg),
    decode_head=head,
    auxiliary_head=[{**booster, **head} for booster in _base_.model.auxiliary_head],
)
