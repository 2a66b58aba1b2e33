# BiSeNet V2-Large: alpha 2 and d 3, in the same reading of the paper. The boosters are as wide as V2's.
_base_ = './bisenetv2-paper.py'
model = dict(
    backbone=dict(alpha=2, depth=3),
    decode_head=dict(in_channels=256, channels=512),
    auxiliary_head=[dict(head, in_channels=2 * head['in_channels']) for head in _base_.model.auxiliary_head],
)
