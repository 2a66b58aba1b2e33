# BiSeNet V2 as PaddleSeg built it (paddleseg/models/bisenet.py): no activation after the depthwise convolutions of the
# gather-and-expansion layers and after the aggregation, a plain convolution at the end of the context embedding, and
# heads as wide as their inputs. Paddle's padding `same` puts the padding of a stride of 2 at the end, and its average
# pool leaves it out. Images are normalised to -1 to 1.
_base_ = './bisenetv2.py'
data_preprocessor = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(
        conv_cfg=dict(type='Conv2dAdaptivePadding'),
        depthwise_act=False,
        context_norm=False,
        bga_act=False,
        bga_pool_padding=False,
    ),
    decode_head=dict(channels=128),
    auxiliary_head=[dict(head, channels=head['in_channels'], num_convs=1) for head in _base_.model.auxiliary_head],
)
