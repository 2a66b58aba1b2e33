# BiSeNet V1 with ResNet-18; every loss mines hard pixels.
_base_ = './bisenetv1_r18-d32.py'
loss_decode = dict(type='mmseg_bisenet.OHEMCrossEntropyLoss', threshold=0.7, min_kept_fraction=1 / 16)
model = dict(
    decode_head=dict(loss_decode=loss_decode),
    auxiliary_head=[dict(head, loss_decode=loss_decode) for head in _base_.model.auxiliary_head],
)
