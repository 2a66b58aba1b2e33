"""The model index, as mim reads it, agrees with the configs."""

import csv
import re
from pathlib import Path

import yaml
from mmengine.config import Config
from modelindex.load_model_index import load

import mmseg_bisenet
from mmseg_bisenet.checkpoints import read

ROOT = Path(__file__).resolve().parents[1]
NAME = re.compile(
    r'(?P<network>bisenetv[12])(?P<large>-l)?(?:-paper)?_(?:(?P<context>[rx]\d+)-(?P<stride>d32|d8)|fcn)'
    r'(?:-torchseg|-coincheung|-coincheung-early|-faceparsing|-paddleseg)?'
    r'(?:-speed)?(?:-in1k-pre)?_(?P<gpus>\d+)xb(?P<batch>\d+)(?:-amp|-ohem)?-(?P<iterations>\d+)k'
    r'_(?P<data>cityscapes|coco-stuff164k|coco-stuff10k|ade20k|celebamask)-(?P<h>\d+)x(?P<w>\d+)'
)

SHIPPED = {path.stem for path in (ROOT / 'mmseg_bisenet' / 'weights').glob('*.safetensors')}


def models() -> list[dict]:
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    return [model for file in index['Import'] for model in yaml.safe_load((ROOT / file).read_text())['Models']]


def test_names_are_unique_lower_case_and_the_configs():
    names = [model['Name'] for model in models()]
    assert len(names) == len(set(names)) == 15 + 20 + len(SHIPPED)
    assert sum('Weights' in model for model in models()) == 15
    for model in models():
        assert model['Name'] == model['Name'].lower()
        assert (model['Name'] == Path(model['Config']).stem) == (model['Name'] not in SHIPPED)
        assert (ROOT / model['Config']).is_file()


def test_every_metafile_says_what_its_config_does():
    for model in (model for model in models() if model['Name'] not in SHIPPED):
        cfg, name = Config.fromfile(ROOT / model['Config']), NAME.fullmatch(model['Name'])
        meta = model['Metadata']
        assert cfg.train_dataloader.batch_size == int(name['batch'])
        assert meta['Batch Size'] == int(name['batch']) * int(name['gpus'])
        assert cfg.train_cfg.max_iters == 1000 * int(name['iterations'])
        assert cfg.crop_size == (int(name['h']), int(name['w']))
        network = dict(bisenetv1='BiSeNetV1', bisenetv2='BiSeNetV2')[name['network']]
        assert cfg.model.backbone.type == f'mmseg_bisenet.{network}'
        assert network == model['In Collection'] == meta['Architecture'][-1]
        if name['context']:
            kind, depth = name['context'][0], name['context'][1:]
            assert f'{kind.upper()}-{depth}-{name["stride"].upper()}' in meta['Architecture']
            context = cfg.model.backbone.backbone_cfg
            assert context.type == 'mmseg_bisenet.Xception39' if kind == 'x' else context.depth == int(depth)
        assert (name['large'] is not None) == ('BiSeNetV2-L' in meta['Architecture'])
        data = {
            'cityscapes': ('Cityscapes', 19),
            'coco-stuff164k': ('COCO-Stuff 164k', 171),
            'coco-stuff10k': ('COCO-Stuff 10k', 171),
            'ade20k': ('ADE20K', 150),
            'celebamask': ('CelebAMask-HQ', 19),
        }[name['data']]
        assert (meta['Training Data'], cfg.model.num_classes) == data
        stock = '160k' in model['Name'] and not re.search('v2.*coco|ade20k|paddleseg', model['Name'])
        assert ('Weights' in model) == stock and ('Results' in model) == stock
        if 'Weights' not in model:
            continue
        assert [result['Dataset'] for result in model['Results']] == [data[0]]
        # The file names of OpenMMLab's 0.x weights state the same facts.
        weights = Path(model['Weights']).name
        assert weights.startswith(f'{name["network"]}_')
        assert ('in1k-pre' in weights) == ('in1k-pre' in model['Name'])
        assert ('ohem' in weights, 'fp16' in weights) == ('-ohem' in model['Name'], '-amp' in model['Name'])
        assert f'_{name["gpus"]}x{name["batch"]}_{name["h"]}x{name["w"]}_160k_{name["data"]}_' in weights
        assert not name['context'] or f'{name["context"]}-d32' in weights


def test_every_metafile_says_what_its_network_costs():
    """The figures of ``benchmarks/complexity.py``, whose first row of a model has the model's own number of classes."""
    costs = {}
    with (ROOT / 'results' / 'complexity.csv').open(encoding='utf-8') as file:
        for row in csv.DictReader(file):
            costs.setdefault(row['model'], row)
    for model in models():
        row, meta = costs[model['Name']], model['Metadata']
        assert int(row['classes']) == Config.fromfile(ROOT / model['Config']).model.num_classes
        assert meta['Parameters (M)'] == round(int(row['parameters']) / 1e6, 2)
        assert meta['Multiply-adds (G)'] == round(int(row['multiply_adds_1024x2048']) / 1e9, 1)


def test_weights_that_ship():
    """The weights belong to a model of the index, are small enough for a package, and have a card that names them."""
    assert SHIPPED == {'bisenetv2_camvid'}
    for name in SHIPPED:
        path = ROOT / 'mmseg_bisenet' / 'weights' / f'{name}.safetensors'
        assert path.stat().st_size < 8e6
        card = (path.parent / 'README.md').read_text()
        assert name in card
        (model,) = [model for model in models() if model['Name'] == name]
        cfg, segmentor = Config.fromfile(ROOT / model['Config']), mmseg_bisenet.get_model(name, pretrained=True)
        assert read(path).meta['config'] == Path(model['Config']).stem
        assert len(segmentor.dataset_meta['classes']) == cfg.model.num_classes == segmentor.num_classes
        assert ', '.join(f'{number} {kind}' for number, kind in enumerate(segmentor.dataset_meta['classes'])) in card
        assert not segmentor.with_auxiliary_head
        assert model['Metadata']['Batch Size'] == cfg.train_dataloader.batch_size


def test_mim_reads_every_model():
    index = load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    assert {model.name for model in index.models} == {model['Name'] for model in models()}
    assert {model.in_collection for model in index.models} == {collection.name for collection in index.collections}


def test_readmes_show_the_scores_of_the_metafiles():
    for model in models():
        if 'Results' not in model:
            continue
        metrics = model['Results'][0]['Metrics']
        scores = f'| {metrics["mIoU"]:.2f} | {metrics["mIoU(ms+flip)"]:.2f} |'
        for readme in (ROOT / 'docs' / 'models.md', (ROOT / model['Config']).parent / 'README.md'):
            (row,) = [line for line in readme.read_text().splitlines() if line.startswith(f'| [`{model["Name"]}`]')]
            assert scores in row
