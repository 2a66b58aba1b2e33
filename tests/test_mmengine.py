"""What MMEngine and MMSegmentation find by themselves once the package is imported: configs by prefix, .safetensors."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config, get_model
from mmengine.runner import CheckpointLoader
from mmseg.apis import MMSegInferencer, inference_model, init_model

import mmseg_bisenet
from mmseg_bisenet import model_index
from mmseg_bisenet.data import CamVidDataset
from mmseg_bisenet.models import BiSeNetSegmentor

NAME = 'bisenetv2_camvid'
PREFIXED = 'mmseg_bisenet::bisenetv2/bisenetv2_fcn_1xb8-5k_camvid-light-240x320.py'
CLASSES = dict(classes=list(CamVidDataset.METAINFO['classes']), palette=CamVidDataset.METAINFO['palette'])


@pytest.fixture(scope='module')
def entry() -> model_index.Entry:
    return model_index.find(NAME)


@pytest.fixture(scope='module')
def weights() -> dict[str, torch.Tensor]:
    return mmseg_bisenet.get_model(NAME, True).state_dict()


def without_scopes(node: object) -> object:
    """Types that come from a prefix have its scope."""
    if isinstance(node, dict):
        return {key: without_scopes(value) for key, value in node.items() if key != '_scope_'}
    return [without_scopes(item) for item in node] if isinstance(node, list | tuple) else node


def test_a_prefix_names_our_configs(entry, tmp_path):
    child = tmp_path / 'child.py'
    child.write_text(f"_base_ = '{PREFIXED}'\nmodel = dict(num_classes=3)\n")
    cfg, ours = Config.fromfile(child), Config.fromfile(entry.config)
    ours.model.num_classes = 3
    assert without_scopes(cfg.to_dict()) == without_scopes(ours.to_dict())
    assert cfg.model._scope_ == 'mmseg_bisenet'


def test_mmengines_hub_knows_our_models(entry):
    assert get_config(PREFIXED).to_dict() == Config.fromfile(entry.config).to_dict()
    with torch.device('meta'):
        model = get_model(PREFIXED)
    assert isinstance(model, BiSeNetSegmentor)
    assert model.num_classes == 11


def test_mmengine_reads_safetensors_with_classes(entry, weights):
    checkpoint = CheckpointLoader.load_checkpoint(str(entry.weights), 'cpu', None)
    assert checkpoint['meta']['dataset_meta'].items() >= CLASSES.items()
    torch.testing.assert_close(checkpoint['state_dict'], weights, rtol=0, atol=0, check_dtype=False)  # fp16 in the file


def test_stock_functions_take_prefix_and_safetensors(entry, weights, tmp_path):
    child = tmp_path / 'child.py'
    child.write_text(f"_base_ = '{PREFIXED}'\nmodel = dict(auxiliary_head=None)\n")
    model = init_model(child, str(entry.weights), device='cpu')
    assert model.dataset_meta.items() >= CLASSES.items()
    torch.testing.assert_close(model.state_dict(), weights, rtol=0, atol=0)
    photo = np.random.randint(0, 256, (45, 80, 3), np.uint8)
    labels = inference_model(model, photo).pred_sem_seg.data
    inferencer = MMSegInferencer(str(child), str(entry.weights), device='cpu', scope='mmseg_bisenet')
    inferencer.show_progress = False
    assert inferencer.model.dataset_meta == CLASSES
    assert np.array_equal(inferencer(photo, return_vis=True)['predictions'], labels[0].numpy())
    assert inferencer.visualizer.dataset_meta['classes'] == CLASSES['classes']
