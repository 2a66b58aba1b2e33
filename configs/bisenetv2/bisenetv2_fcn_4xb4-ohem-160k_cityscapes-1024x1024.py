_base_ = './bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py'
# Stock writes `models = dict(`, so that it trains without mining, and its sampler averages over easy pixels too.
loss_decode = dict(type='mmseg_bisenet.OHEMCrossEntropyLoss', threshold=0.7, min_kept_fraction=1 / 16)
model = dict(
    decode_head=dict(loss_decode=loss_decode),
    auxiliary_head=[dict(head, loss_decode=loss_decode) for head in _base_.model.auxiliary_head],
)
