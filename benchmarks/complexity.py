"""What each model of the index costs: parameters, multiply-adds and activations, beside the published figures.

Counted by mmengine's analysis, for one image, on the part of the network that predicts: no boosters, from the
normalised image to the classifier's logits at 1/8. A multiply-add is one. Convolutions, batch norm (two an element),
global pools and upsampling count; sums, products, activation functions and max pools don't. Activations are the
elements that convolutions put out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.analysis import ActivationAnalyzer, FlopAnalyzer
from torch import nn

from mmseg_bisenet import model_index
from mmseg_bisenet.benchmark.tables import markdown
from mmseg_bisenet.models import BiSeNetSegmentor
from mmseg_bisenet.zoo import get_model

Size = tuple[int, int]  # height, width

SIZES: tuple[Size, ...] = ((512, 1024), (1024, 2048))
CLASSES = 19  # Cityscapes', so that networks compare
TILE = 32  # pixels of the image for one of the coarsest map


@dataclass(frozen=True)
class Published:
    """A figure of somebody else's, to stand beside a network of the index (:func:`network`).

    Multiply-adds in G, for one image of ``size``; parameters in M, where the source gives them and any code bears them
    out; ``note`` says why ours differ.
    """

    network: str
    size: Size
    multiply_adds: float
    parameters: float | None
    source: str
    note: str = ''


STOCK = "MMSegmentation 1.2.2's network, counted alike"
RDRNET = 'RDRNet README, trained there in MMSegmentation'
V1_PAPER = 'V1 paper, table 4'
ARM = "convolutions in the attention modules, which the authors' code has and the paper has not"
REST = 'the rest not explained'
PUBLISHED = (
    Published('bisenetv1_r18-d32', (512, 1024), 29.7, 13.28, STOCK),
    Published('bisenetv1_r18-d32', (1024, 2048), 118.0, 13.3, RDRNET, f'118.3 G in convolutions; {REST}'),
    Published(
        'bisenetv1_r18-d32',
        (360, 640),
        10.8,
        None,
        V1_PAPER,
        f"1.6 G: head 256 wide, the authors' is 64; 0.4 G: {ARM}; {REST}",
    ),
    Published('bisenetv1_r18-d32-torchseg', (360, 640), 10.8, None, V1_PAPER, f'0.4 G: {ARM}; {REST}'),
    Published('bisenetv1_r50-d32', (512, 1024), 198.0, 56.9, STOCK),
    Published('bisenetv1_x39-d32', (360, 640), 2.9, None, V1_PAPER, f'0.2 G: {ARM}'),
    Published('bisenetv2_fcn', (512, 1024), 24.7, 3.36, STOCK),
    Published('bisenetv2_fcn', (1024, 2048), 98.4, 3.4, RDRNET, '98.4 G in convolutions'),
    Published(
        'bisenetv2_fcn',
        (512, 1024),
        21.15,
        None,
        'V2 paper',
        "MMSegmentation's reading, whose head is 1024 wide (9.7 G)",
    ),
    Published(
        'bisenetv2-paper_fcn', (512, 1024), 21.15, None, 'V2 paper', f'the reading nearest to both figures; {REST}'
    ),
    Published(
        'bisenetv2-l_fcn',
        (512, 1024),
        118.5,
        None,
        'V2 paper',
        f'its widths are not published; the reading nearest to both figures; {REST}',
    ),
)


# -- counting ----------------------------------------------------------------------------------------------------------


def count(model: nn.Module, sizes: Sequence[Size]) -> list[tuple[int, int]]:
    """Multiply-adds and activations for one image of each size.

    A large image need not be run: where both sides are multiples of 32, every map is a whole number of pixels a tile of
    32x32, and the cost is a constant (what follows a global pool) and so much a tile. Images of 1, 2 and 4 tiles give
    the two and the proof. Other sizes are run as they are, and all sizes of a network where the proof fails.
    """
    one, two, four = (np.array(_run(model, size)) for size in ((32, 32), (32, 64), (64, 64)))
    linear = np.array_equal(four - two, 2 * (two - one))
    counts = []
    for height, width in sizes:
        if linear and height % TILE == width % TILE == 0:
            tiles = height // TILE * (width // TILE)
            counts.append(tuple((one + (two - one) * (tiles - 1)).tolist()))
        else:
            counts.append(_run(model, (height, width)))
    return counts


@torch.no_grad()
def _run(model: nn.Module, size: Size) -> tuple[int, int]:
    inputs = torch.zeros(1, 3, *size)
    analyses = FlopAnalyzer(model, inputs), ActivationAnalyzer(model, inputs)
    return tuple(
        # It would warn of what the head of this file says.
        int(analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total())
        for analysis in analyses
    )


def measure(model: BiSeNetSegmentor) -> dict[str, int]:
    """Classes, parameters, and multiply-adds and activations for each of ``SIZES``."""
    row = dict(classes=model.num_classes, parameters=sum(parameter.numel() for parameter in model.parameters()))
    for (height, width), (multiply_adds, activations) in zip(SIZES, count(model, SIZES), strict=True):
        row[f'multiply_adds_{height}x{width}'] = multiply_adds
        row[f'activations_{height}x{width}'] = activations
    return row


def measure_all() -> list[dict[str, str | int]]:
    """Every model of the index with its own number of classes, and also with 19 where that is another number."""
    rows = []
    known = {}  # what the same network cost under another name
    for name in model_index.list_models():
        own = get_model(name)
        for model in [own] if own.num_classes == CLASSES else [own, get_model(name, num_classes=CLASSES)]:
            cfg = model.cfg.model
            network = repr((cfg.backbone, cfg.decode_head, cfg.num_classes))
            if network not in known:
                known[network] = measure(model)
            rows.append(dict(model=name, **known[network]))
    return rows


# -- tables ------------------------------------------------------------------------------------------------------------

CAPTION = f"""\
One image, {CLASSES} classes, the part of the network that predicts: from the normalised image to the logits at 1/8,
without boosters. Counted by mmengine: a multiply-add is one; convolutions, batch norm (two an element), global pools
and upsampling count. Activations are what convolutions put out. The papers' figures are as others quote them."""


def network(model: str) -> str:
    """The part of a model's name in front of its schedule: ``bisenetv1_r18-d32`` and so on."""
    return re.split(r'_\d+xb\d+', model)[0]


def tables(rows: Sequence[dict[str, str | int]]) -> str:
    """Each network once, and what others published beside ours, from the rows of :func:`measure_all`."""
    different = {}  # of rows that differ in nothing but the model, the first
    networks = {}
    for row in rows:
        if row['classes'] == CLASSES:
            first = different.setdefault(tuple(row.values())[1:], row)
            networks.setdefault(network(row['model']), first)
    costs = markdown(
        ['network', 'parameters', *(f'{what}, {h}x{w}' for what in ('multiply-adds', 'activations') for h, w in SIZES)],
        'lrrrrr',
        (
            [
                _link(row['model']),
                _mega(row['parameters'], 2),
                *(_giga(row[f'multiply_adds_{h}x{w}']) for h, w in SIZES),
                *(_mega(row[f'activations_{h}x{w}'], 1) for h, w in SIZES),
            ]
            for row in different.values()
        ),
    )
    comparison = markdown(
        ['network', 'image', 'multiply-adds', 'published', 'parameters', 'published', 'source', 'difference'],
        'lrrrrrll',
        (_beside(published, networks[published.network]) for published in PUBLISHED if published.network in networks),
    )
    return f'{CAPTION}\n\n{costs}\n\n{comparison}'


def _beside(published: Published, row: dict[str, str | int]) -> list[str]:
    height, width = published.size
    if published.size in SIZES:
        multiply_adds = row[f'multiply_adds_{height}x{width}']
    else:
        ((multiply_adds, _),) = count(get_model(row['model'], num_classes=CLASSES), [published.size])
    return [
        f'`{published.network}`',
        f'{height}x{width}',
        _giga(multiply_adds),
        f'{published.multiply_adds} G',
        _mega(row['parameters'], 2),
        f'{published.parameters} M' if published.parameters else '',
        published.source,
        published.note,
    ]


def _link(model: str) -> str:
    config = model_index.find(model).config.relative_to(model_index.folder())
    return f'[`{network(model)}`]({config.as_posix()})'


def _giga(value: int) -> str:
    return f'{value / 1e9:.1f} G'


def _mega(value: int, digits: int) -> str:
    return f'{value / 1e6:.{digits}f} M'
