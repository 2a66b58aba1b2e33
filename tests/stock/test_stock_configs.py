"""Stock's test_config.py: its BiSeNet configs build with our backbones, and pipelines give what networks expect."""

import numpy as np
import pytest
from base import build, outline
from mmengine.config import Config
from mmengine.dataset import Compose

STOCK = [
    'bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024',
    'bisenetv1/bisenetv1_r50-d32-in1k-pre_4xb4-160k_cityscapes-1024x1024',
    'bisenetv1/bisenetv1_r101-d32_4xb4-160k_coco-stuff164k-512x512',
    'bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024',
]
# One of each file of a data set.
OURS = [
    'bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024',
    'bisenetv1/bisenetv1_r18-d32-torchseg_4xb4-ohem-80k_cityscapes-1024x1024',
    'bisenetv2/bisenetv2_fcn_4xb4-ohem-160k_ade20k-512x512',
    'bisenetv2/bisenetv2_fcn_4xb4-ohem-160k_coco-stuff164k-512x512',
    'bisenetv2/bisenetv2_fcn_1xb16-10k_camvid-360x480',
    'bisenetv2/bisenetv2_fcn_1xb16-20k_own-folder-512x512',
    'bisenetv2/bisenetv2_fcn_1xb16-ohem-80k_celebamask-512x512',
    'bisenetv2/bisenetv2_fcn_1xb8-400it_miniscapes-128x256',
]


@pytest.mark.parametrize('name', STOCK)
def test_stock_configs_build_with_ours(name, stock_configs):
    cfg = Config.fromfile(stock_configs / f'{name}.py').model
    network = outline(cfg)
    assert type(network.backbone).__module__.startswith('mmseg_bisenet.models.')
    heads = [network.decode_head, *network.auxiliary_head]
    for head, made in zip([cfg.decode_head, *cfg.auxiliary_head], heads, strict=True):
        assert (made.in_channels, made.in_index, made.input_transform) == (head.in_channels, head.in_index, None)
        assert made.conv_seg.in_channels == head.channels
        assert made.conv_seg.out_channels == head.num_classes


@pytest.mark.parametrize('name', OURS)
def test_pipelines(name, configs):
    cfg = Config.fromfile(configs / f'{name}.py')
    train, test = (
        Compose([step for step in pipeline if not step.type.startswith('Load')])
        for pipeline in (cfg.train_pipeline, cfg.test_pipeline)
    )
    image, labels = np.random.randint(0, 256, (64, 128, 3), np.uint8), np.random.randint(0, 19, (64, 128), np.uint8)
    given = dict(img_path='a.png', img=image, img_shape=(64, 128), ori_shape=(64, 128))
    packed = train(dict(given, gt_seg_map=labels, seg_fields=['gt_seg_map']))
    data = build(cfg.model.data_preprocessor)(
        dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]), True
    )
    assert data['inputs'].shape == (1, 3, *cfg.crop_size)
    assert data['data_samples'][0].gt_sem_seg.data.shape == (1, *cfg.crop_size)
    packed = test(dict(given))
    assert packed['inputs'].shape[0] == 3
    assert packed['data_samples'].ori_shape == (64, 128)
    assert packed['data_samples'].img_shape == packed['inputs'].shape[1:]
