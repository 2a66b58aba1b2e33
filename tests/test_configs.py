"""Every config builds, trains and predicts. If stock has a config of the same file name, ours is the same recipe."""

import ast
import functools
import inspect
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
from base import build, outline
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from models.test_segmentor import batch, read

from benchmarks.pipeline import as_stock
from mmseg_bisenet.miniscapes import write_miniscapes

ROOT = Path(__file__).resolve().parents[1] / 'configs'
OURS = {path.stem: path for path in sorted(ROOT.glob('bisenet*/*.py'))}
OHEM = 'bisenetv2_fcn_4xb4-ohem-160k_cityscapes-1024x1024'
AMP = 'bisenetv2_fcn_4xb4-amp-160k_cityscapes-1024x1024'
# Names that stock has too. Stock has no V2 on COCO-Stuff 164k, and nothing on ADE20K or of PaddleSeg.
STOCK = [name for name in OURS if '160k' in name and not re.search('v2.*coco|ade20k|paddleseg', name)]


def stock_paths(stock_configs: Path) -> dict[str, Path]:
    return {path.stem: path for path in stock_configs.glob('bisenetv[12]/*.py')}


def test_every_stock_config_has_a_counterpart(stock_configs):
    stock = stock_paths(stock_configs)
    assert len(stock) == 15
    assert stock.keys() == set(STOCK)
    assert all(OURS[name].parent.name == path.parent.name for name, path in stock.items())


@functools.cache
def leaf(name: str) -> Config:
    """For tests that only read it."""
    return Config.fromfile(OURS[name])


def parsed(cfg: str) -> ConfigDict:
    return ConfigDict(ast.literal_eval(cfg))


# Many configs train the same network on other images, or for another time. It is built once for each cfg; the cfgs are
# texts, which can be looked up.
@functools.cache
def one_step(model: str, optim_wrapper: str) -> tuple[int, int, dict[str, float], set[str], torch.Tensor]:
    """Train for one step: numbers of heads and classes, losses, parameters that did not change, and a prediction."""
    model, wrapper = build(parsed(model)), parsed(optim_wrapper)
    model.init_weights()
    if wrapper.type == 'AmpOptimWrapper':  # fp16 exists on GPUs only
        wrapper = dict(type='OptimWrapper', optimizer=wrapper.optimizer)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.manual_seed(0)
    logged = model.train_step(batch((64, 64), model.num_classes), build_optim_wrapper(model, wrapper))
    losses = {key: value.item() for key, value in logged.items() if 'loss_' in key}
    still = {key for key, value in model.named_parameters() if torch.equal(before[key], value)}
    prediction = model.eval().test_step(batch((64, 96), model.num_classes, n=1))[0].pred_sem_seg.data
    return 1 + len(model.auxiliary_head), model.num_classes, losses, still, prediction


@pytest.mark.parametrize('name', OURS)
def test_builds_and_takes_one_step_and_predicts(name):
    cfg = read(str(OURS[name]), (64, 64))
    context = cfg.model.backbone.get('backbone_cfg', {})
    pretrained = context.pop('init_cfg', None)
    assert (pretrained is not None) == ('in1k-pre' in name)
    heads, classes, losses, still, prediction = one_step(repr(cfg.model.to_dict()), repr(cfg.optim_wrapper.to_dict()))
    assert len(losses) == heads == 1 + len(cfg.model.auxiliary_head)
    assert all(math.isfinite(value) for value in losses.values())
    assert all(('ohem' in key) == ('ohem' in name) for key in losses)
    # A later norm cancels these parameters: their gradients are zero, only weight decay can change them.
    shift, scale = r'stage4_CEBlock\.gap\.1\.bias', r'stage\d\.\d+\.conv1\.bn\.weight'
    # Layers before a norm that starts at zero do not change either.
    before_zero = r'stage\d\.\d+\.(conv1|dwconv)\..*bn\.\w+' if cfg.model.backbone.get('zero_init_last_norm') else scale
    v1 = (
        r'context_path\.backbone\.layer\d\.\d+\.bn[12]\.(bias|weight)'  # ResNet starts the last norm of a block at zero
    )
    assert all(re.fullmatch(rf'backbone\.({v1}|semantic\.({shift}|{scale}|{before_zero}))', key) for key in still)
    assert prediction.shape == (1, 64, 96)
    assert 0 <= prediction.min() and prediction.max() < classes


@pytest.mark.parametrize('name', STOCK)
def test_is_the_stock_recipe(name, stock_configs):
    stock, ours = (Config.fromfile(path) for path in (stock_paths(stock_configs)[name], OURS[name]))
    assert ours.optim_wrapper.optimizer == stock.optim_wrapper.optimizer
    assert ours.param_scheduler == stock.param_scheduler
    assert dict(ours.train_cfg, type='IterBasedTrainLoop') == stock.train_cfg
    assert ours.crop_size == stock.crop_size
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert ours[loader].batch_size == stock[loader].batch_size
        ours_data, stock_data = ours[loader].dataset, stock[loader].dataset
        assert (ours_data.type, ours_data.data_prefix) == (stock_data.type, stock_data.data_prefix)
        assert as_stock(ours_data.pipeline) == stock_data.pipeline
    assert ours.model.data_preprocessor.size == ours.crop_size == tuple(stock.crop_size)
    assert ours.model.test_cfg == stock.model.test_cfg


@pytest.mark.parametrize('name', [name for name in STOCK if 'pre' not in name])
def test_published_checkpoints_fit(name, stock_configs):
    stock, ours = (outline(read(str(path), (64, 64)).model) for path in (stock_paths(stock_configs)[name], OURS[name]))
    ours.load_state_dict(stock.state_dict(), strict=True)


@functools.cache
def assert_filled_by_imagenet_weights(context: str, folder: Path) -> None:
    """A file in torchvision's format fills every layer, the stem included; only its classifier is not used."""
    context = parsed(context)
    resnet = outline(context | dict(init_cfg=None, norm_cfg=dict(type='BN')))
    published = {key: torch.full_like(value, 0.5, device='cpu') for key, value in resnet.state_dict().items()}
    assert published['conv1.weight'].shape == (64, 3, 7, 7)
    torch.save(published | {'fc.weight': torch.zeros(1000, 512), 'fc.bias': torch.zeros(1000)}, folder / 'in1k.pth')
    init_cfg = dict(context.init_cfg, checkpoint=str(folder / 'in1k.pth'))
    loaded = build(context | dict(init_cfg=init_cfg, norm_cfg=dict(type='BN')))
    loaded.init_weights()
    torch.testing.assert_close(loaded.state_dict(), published)


@pytest.mark.parametrize('name', [name for name in OURS if 'in1k-pre' in name])
def test_imagenet_weights_are_of_the_network_that_is_built(name, tmp_path_factory):
    context = Config.fromfile(OURS[name]).model.backbone.backbone_cfg
    assert f'/resnet{context.depth}-' in context.init_cfg.checkpoint
    assert_filled_by_imagenet_weights(repr(context.to_dict()), tmp_path_factory.getbasetemp())


@functools.cache
def assert_starts_from(model: str, imagenet: bool, folder: Path) -> None:
    """A Runner calls ``init_weights`` of the segmentor, and that initialises the classification network."""
    model = parsed(model)
    context = model.backbone.backbone_cfg
    if imagenet:
        weights = outline(context).state_dict()
        weights = {key: torch.full_like(value, 7, device='cpu') for key, value in weights.items()}
        torch.save(weights, folder / 'in1k.pth')
        context.init_cfg.checkpoint = str(folder / 'in1k.pth')
    segmentor = build(model)
    segmentor.init_weights()
    network = segmentor.backbone.context_path.backbone
    if imagenet:
        assert all((value == 7).all() for value in network.state_dict().values())
    else:
        last = [
            getattr(block, block.norm3_name if context.depth > 34 else block.norm2_name) for block in network.layer1
        ]
        assert not any(norm.weight.any() for norm in last)  # ResNet's `zero_init_residual`


@pytest.mark.parametrize('name', [name for name in STOCK if 'v1' in name])
def test_training_starts_as_the_config_says(name, tmp_path_factory):
    model = repr(read(str(OURS[name]), (64, 64)).model.to_dict())
    assert_starts_from(model, 'in1k-pre' in name, tmp_path_factory.getbasetemp())


@pytest.mark.parametrize('name', OURS)
def test_the_preprocessor_is_found_where_stock_tools_look(name):
    """``visualization_cam`` and MMEngine's hub read the config's own, which stock configs have too."""
    cfg = leaf(name)
    assert cfg.data_preprocessor == {key: value for key, value in cfg.model.data_preprocessor.items() if key != 'size'}


@pytest.mark.parametrize('name', OURS)
def test_every_image_of_show_dir_is_drawn(name):
    assert leaf(name).default_hooks.visualization == dict(type='SegVisualizationHook', interval=1)


HOOKS = dict(
    pictures='ValidationPicturesHook', curves='CurvesHook', scores='EvaluationHook', finite='NonFiniteLossHook'
)


@pytest.mark.parametrize('name', OURS)
def test_hooks_of_a_users_config_are_beside_ours(name, tmp_path):
    (tmp_path / 'mine.py').write_text(f"_base_ = {str(OURS[name])!r}\ncustom_hooks = [dict(type='EMAHook')]")
    cfg = Config.fromfile(tmp_path / 'mine.py')
    ours = {key: f'mmseg_bisenet.{kind}' for key, kind in HOOKS.items()}
    assert {key: cfg.default_hooks[key].type for key in HOOKS} == ours
    assert cfg.custom_hooks == [dict(type='EMAHook')]


def test_ohem_is_applied_to_every_head():
    cfg = Config.fromfile(OURS[OHEM])
    heads = [cfg.model.decode_head, *cfg.model.auxiliary_head]
    assert [head.loss_decode.type for head in heads] == ['mmseg_bisenet.OHEMCrossEntropyLoss'] * 5
    assert [head.in_channels for head in heads] == [128, 16, 32, 64, 128]


def test_amp_scales_the_loss_dynamically():
    wrapper = Config.fromfile(OURS[AMP]).optim_wrapper
    assert (wrapper.type, wrapper.loss_scale) == ('AmpOptimWrapper', 'dynamic')


def test_the_demos_benchmark_has_enough_images_for_the_stock_script():
    dataset = Config.fromfile(OURS['bisenetv2_fcn_1xb8-400it_miniscapes-128x256_benchmark']).test_dataloader.dataset
    drawn = inspect.signature(write_miniscapes).parameters['val'].default
    assert dataset.type == 'RepeatDataset'
    assert dataset.times * drawn >= 200


def test_the_data_folder_is_that_of_the_environment(monkeypatch):
    name = 'bisenetv2_fcn_1xb16-10k_camvid-360x480'
    monkeypatch.setenv('MMSEG_BISENET_DATA', '/somewhere')
    assert Config.fromfile(OURS[name]).train_dataloader.dataset.data_root == '/somewhere/camvid'
    monkeypatch.delenv('MMSEG_BISENET_DATA')
    assert Config.fromfile(OURS[name]).train_dataloader.dataset.data_root == 'data/camvid'


@pytest.mark.parametrize('name', OURS)
def test_the_learning_rate_is_for_the_batch_in_the_name(name):
    """Automatic scaling changes nothing if the config is trained with the GPUs and images of its name."""
    cfg = leaf(name)
    gpus, images = map(int, re.search(r'_(\d+)xb(\d+)-', name).groups())
    assert cfg.train_dataloader.batch_size == images
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=gpus * images)


@pytest.mark.parametrize('name', [name for name in OURS if 'torchseg' in name or 'coincheung' in name])
def test_recipes_of_the_authors(name):
    """Parameters outside the ImageNet weights learn ten times as fast; norms and biases have no weight decay."""
    cfg = read(str(OURS[name]), (64, 64))
    model = build(cfg.model)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    rates = {id(parameter): group for group in optimizer.param_groups for parameter in group['params']}
    fast = r'decode_head|auxiliary_head|backbone\.ffm'
    if 'torchseg' in name:
        fast += r'|backbone\.(?!context_path\.backbone\.)'
    for key, parameter in model.named_parameters():
        base = cfg.optim_wrapper.optimizer
        assert rates[id(parameter)]['lr'] == base.lr * (10 if re.match(fast, key) else 1)
        assert rates[id(parameter)]['weight_decay'] == (0 if parameter.ndim == 1 else base.weight_decay)


# -- the files ---------------------------------------------------------------------------------------------------------


def bases(path: Path) -> list[Path]:
    """The files that a config names in ``_base_``."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '_base_':
            names = ast.literal_eval(node.value)
            return [(path.parent / name).resolve() for name in ([names] if isinstance(names, str) else names)]
    return []


def levels(path: Path) -> int:
    return max((1 + levels(base) for base in bases(path)), default=0)


@pytest.mark.parametrize('name', OURS)
def test_at_most_two_levels_of_bases(name):
    assert levels(OURS[name]) <= 2
    assert all(base.is_relative_to(ROOT / '_base_') for base in bases(OURS[name]))


@pytest.mark.parametrize('path', sorted(ROOT.rglob('*.py')), ids=lambda path: path.stem)
def test_nothing_of_a_base_is_taken_by_position(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Subscript):
            of, index = ast.unparse(node.value), ast.unparse(node.slice)
            assert not (re.search('_base_|pipeline', of) and re.search(r'\d|:', index)), f'{of}[{index}]'


def steps(node: object, kind: str) -> list[dict]:
    """Every transform whose type ends in ``kind``, at any depth."""
    if isinstance(node, dict):
        found = [node] if str(node.get('type')).endswith(kind) else []
        return found + [step for item in node.values() for step in steps(item, kind)]
    return [step for item in node for step in steps(item, kind)] if isinstance(node, list | tuple) else []


@pytest.fixture
def copied(tmp_path):
    """A leaf from a copy of the configs; ``name = ...`` has a new value in the leaf, or else in its data set file."""

    def copy(leaf: str, name: str, value: tuple[int, int]) -> Config:
        shutil.copytree(ROOT / '_base_', tmp_path / '_base_')
        path = tmp_path / OURS[leaf].relative_to(ROOT)
        path.parent.mkdir()
        shutil.copy(OURS[leaf], path)
        line = re.compile(rf'^{name} = .*$', re.MULTILINE)
        file = next(file for file in (path, *bases(path)) if line.search(file.read_text()))
        file.write_text(line.sub(f'{name} = {value}', file.read_text()))
        return Config.fromfile(path)

    return copy


@pytest.mark.parametrize('name', OURS)
def test_a_new_crop_reaches_the_pipeline_and_the_preprocessor(name, copied):
    cfg = copied(name, 'crop_size', (96, 160))
    crops = steps([cfg.train_pipeline, cfg.train_dataloader], 'Crop')
    assert [crop.crop_size for crop in crops] == [(96, 160)] * 2
    assert cfg.crop_size == cfg.model.data_preprocessor.size == (96, 160)


@pytest.mark.parametrize('name', OURS)
def test_a_new_scale_reaches_every_pipeline(name, copied):
    cfg = copied(name, 'scale', (320, 160))
    tests = [cfg.test_pipeline, cfg.val_dataloader, cfg.test_dataloader]
    assert [resize.scale for resize in steps(tests, 'Resize')] == [(320, 160)] * 3
    views = steps(cfg.tta_pipeline, 'Resize')
    if re.search('torchseg|x39|celebamask', name):  # six scales to choose from instead
        assert all('scale' not in crop for crop in steps(cfg.train_dataloader, 'Crop'))
    else:
        assert [crop.scale for crop in steps([cfg.train_pipeline, cfg.train_dataloader], 'Crop')] == [(320, 160)] * 2
    if re.search('speed|celebamask', name):
        assert [view.scale for view in views] == [(int(320 * ratio), int(160 * ratio)) for ratio in cfg.tta_ratios]
    else:
        assert [view.scale_factor for view in views] == list(cfg.tta_ratios)


@pytest.mark.parametrize('name', OURS)
def test_a_leaf_changes_its_crop_as_shared_py_shows(name, tmp_path):
    text = (ROOT / '_base_' / 'datasets' / 'shared.py').read_text()
    example = '\n'.join(re.findall(r'^#     (.*)$', text, re.MULTILINE))
    assert example in (ROOT.parent / 'docs' / 'train.md').read_text()
    path = tmp_path / 'leaf.py'
    path.write_text(f"_base_ = '{OURS[name]}'\n{example}\n")
    cfg = Config.fromfile(path)
    assert cfg.crop_size == cfg.model.data_preprocessor.size == (512, 1024)
    crop = dict(crop_size=(512, 1024))
    wanted = [step | crop if 'crop_size' in step else step for step in leaf(name).train_pipeline]
    assert cfg.train_pipeline == cfg.train_dataloader.dataset.pipeline == wanted
    assert any('crop_size' in step for step in wanted)
