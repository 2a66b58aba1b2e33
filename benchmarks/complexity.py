"""Count parameters, multiply-adds and activations of every model of the index, beside the published figures.

mmengine's analysis counts for one image, on the part of the network that predicts: without boosters, from the
normalised image to the classifier's logits at 1/8. A multiply-add counts as one. Convolutions, batch norm (two an
element), global pools and upsampling count; sums, products, activation functions and max pools don't. Activations are
the elements that convolutions put out.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.analysis import jit_handles as handles
from torch import nn

from benchmarks import command
from benchmarks.markers import replace_between, require_markers
from mmseg_bisenet import model_index
from mmseg_bisenet.benchmark.tables import markdown, write_csv
from mmseg_bisenet.models import BiSeNetSegmentor
from mmseg_bisenet.zoo import get_model

Size = tuple[int, int]  # height, width

SIZES: tuple[Size, ...] = ((512, 1024), (1024, 2048))
CLASSES = 19  # as Cityscapes has; networks are compared with the same number
ACTIVATIONS = 'activations'
# Operations whose outputs are activations, and what counts their multiply-adds.
PRODUCTS = {
    'aten::_convolution': handles.conv_flop_jit,
    'aten::addmm': handles.addmm_flop_jit,
    'aten::bmm': handles.bmm_flop_jit,
    'aten::einsum': handles.einsum_flop_jit,
    'aten::linear': handles.linear_flop_jit,
    'aten::matmul': handles.matmul_flop_jit,
}
TILE = 32  # pixels of the image for one pixel of the coarsest feature map
ROOT = Path(__file__).resolve().parents[1]
CSV = ROOT / 'results' / 'complexity.csv'
PAGE = ROOT / 'docs' / 'models.md'


@dataclass(frozen=True)
class Published:
    """A published figure for a network of the index (:func:`network`).

    Multiply-adds are in G, for one image of ``size``. Parameters are in M, and None if the source gives none or no code
    confirms them. ``note`` says why ours differ.
    """

    network: str
    size: Size
    multiply_adds: float
    parameters: float | None
    source: str
    note: str = ''


STOCK = "MMSegmentation 1.2.2's network, counted in the same manner"
RDRNET = 'RDRNet README, trained there in MMSegmentation'
V1_PAPER = 'V1 paper, table 4'
ARM = "convolutions in the attention modules, which are in the authors' code but not in the paper"
REST = 'the rest is not explained'
PUBLISHED = (
    Published('bisenetv1_r18-d32', (512, 1024), 29.7, 13.28, STOCK),
    Published('bisenetv1_r18-d32', (1024, 2048), 118.0, 13.3, RDRNET, f'118.3 G in convolutions; {REST}'),
    Published(
        'bisenetv1_r18-d32',
        (360, 640),
        10.8,
        None,
        V1_PAPER,
        f"1.6 G: the head is 256 wide, the authors' is 64; 0.4 G: {ARM}; {REST}",
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
        "MMSegmentation's reading of the paper, with a head 1024 wide (9.7 G)",
    ),
    Published(
        'bisenetv2-paper_fcn',
        (512, 1024),
        21.15,
        None,
        'V2 paper',
        f'the reading closest to both figures; {REST}',
    ),
    Published(
        'bisenetv2_fcn-paddleseg',
        (512, 1024),
        16.14,
        2.33,
        'PaddleSeg',
        'parameters: biases before norms, and the statistics of the norms, are none here',
    ),
    Published(
        'bisenetv2-l_fcn',
        (512, 1024),
        118.5,
        None,
        'V2 paper',
        f'the widths are not published; the reading closest to both figures; {REST}',
    ),
)


# -- counting ----------------------------------------------------------------------------------------------------------


def count(model: nn.Module, sizes: Sequence[Size]) -> list[tuple[int, int]]:
    """Multiply-adds and activations for one image of each size.

    A large image need not be run if both sides are multiples of 32. Then every feature map has a whole number of pixels
    for each tile of 32x32, and the cost is a constant (the layers after a global pool) plus a constant for each tile.
    Images of 1 and 2 tiles give both constants, and an image of 4 tiles confirms them. Other sizes are run, and so are
    all sizes of a network whose cost is not of this form.
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
    analysis = FlopAnalyzer(model, torch.zeros(1, 3, *size))
    # Both counts in one trace, which takes most of the time. The warnings would repeat the docstring of this file.
    analysis.set_op_handle(**{name: _with_activations(handle) for name, handle in PRODUCTS.items()})
    counts = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
    return int(counts.total() - counts[ACTIVATIONS]), int(counts[ACTIVATIONS])


def _with_activations(products: Callable) -> Callable:
    """What counts the multiply-adds of an operation, and the elements of its output too."""

    def count(inputs: list, outputs: list) -> Counter[str]:
        found = products(inputs, outputs)
        return Counter(found if isinstance(found, Counter) else {'products': found}) + Counter(
            {ACTIVATIONS: prod(handles.get_shape(outputs[0]))}
        )

    return count


def measure(model: BiSeNetSegmentor) -> dict[str, int]:
    """Number of classes and of parameters, and multiply-adds and activations for each of ``SIZES``."""
    row = dict(classes=model.num_classes, parameters=sum(parameter.numel() for parameter in model.parameters()))
    for (height, width), (multiply_adds, activations) in zip(SIZES, count(model, SIZES), strict=True):
        row[f'multiply_adds_{height}x{width}'] = multiply_adds
        row[f'activations_{height}x{width}'] = activations
    return row


def measure_all() -> list[dict[str, str | int]]:
    """A row for every model of the index with its own number of classes, and one with 19 classes if it has others."""
    rows = []
    known = {}  # the costs of each network; several models share one
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
without boosters. Counted by mmengine: a multiply-add counts as one; convolutions, batch norm (two an element), global
pools and upsampling count. Activations are the outputs of convolutions. The figures of the papers are quoted from
secondary sources."""


def network(model: str) -> str:
    """The part of a model's name before its schedule, such as ``bisenetv1_r18-d32``."""
    return re.split(r'_\d+xb\d+', model)[0]


def tables(rows: Sequence[dict[str, str | int]]) -> str:
    """A table with each network once, and one with the published figures, from the rows of :func:`measure_all`."""
    different = {}  # the first of the rows that differ in the name of the model only
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
    return f'[`{network(model)}`](../{config.as_posix()})'  # from the folder of PAGE


def _giga(value: int) -> str:
    return f'{value / 1e9:.1f} G'


def _mega(value: int, digits: int) -> str:
    return f'{value / 1e6:.{digits}f} M'


# -- command -----------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = 'write results/complexity.csv and the tables of docs/models.md'
    parser.add_argument('--write', action='store_true', help=text)


def run(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)  # the images are too small for several threads
    if args.write:
        require_markers(PAGE, 'complexity')
    rows = measure_all()
    text = tables(rows)
    if args.write:
        write_csv(CSV, rows, overwrite=True)
        replace_between(PAGE, 'complexity', text)
    print(text)


def main(argv: Sequence[str] | None = None) -> int:
    return command.main('complexity', __doc__, add_arguments, run, argv)


if __name__ == '__main__':
    sys.exit(main())
