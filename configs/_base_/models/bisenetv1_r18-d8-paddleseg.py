# BiSeNet V1 with ResNet-18-D as PaddleSeg built it (paddleseg/models/bisenetv1.py): the last two stages of the ResNet
# are dilated instead of smaller, and all gates have an activation before their sigmoid. Images are normalised to -1 to
# 1.
_base_ = './bisenetv1_r18-d32-torchseg.py'
data_preprocessor = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(
        backbone_cfg=dict(
            _delete_=True, type='mmseg_bisenet.ResNetVd', depth=18, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)
        ),
        fusion_gate='conv-norm-act-twice',
        attention_act=True,
    ),
    auxiliary_head=[dict(head, channels=128) for head in _base_.model.auxiliary_head],
)
