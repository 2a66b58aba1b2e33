"""``mmseg-bisenet benchmark CONFIG [CHECKPOINT]``: milliseconds an image of several runtimes, without a data set."""

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mmseg_bisenet import model_index
from mmseg_bisenet.cli.overwrite import add_overwrite
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.sizes import check_pixels

if TYPE_CHECKING:
    import numpy as np
    from mmengine.config import Config

    from mmseg_bisenet.benchmark.methods import Job

SMALLEST = 64  # pixels a side, of a drawn street and of the deepest maps
COLUMNS = {
    'p50 ms': ('p50_ms', 2),
    'p90': ('p90_ms', 2),
    'p99': ('p99_ms', 2),
    'fps': ('fps', 2),
    'ratio': ('ratio', 2),
    'same labels, %': ('same_labels', 3),
    'peak MB': ('peak_mb', 0),
    'pre ms': ('preprocess_ms', 2),
    'network': ('network_ms', 2),
    'post': ('postprocess_ms', 2),
}
SPANS = dict(
    ours='from uint8 pixels to full-size labels{place}, all timed; fps of the median',
    stock="as MMSegmentation's benchmark.py: stock without its data preprocessor, which pads to {size}; the others "
    'whole; fps of the mean',
    paper='as BiSeNetV2: the image is resized to half its size and its labels back, both timed; fps of the mean; the '
    'paper has 156 fps in TensorRT 5.1.5, fp32, on a GTX 1080 Ti',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from mmseg_bisenet.benchmark.methods import PROTOCOLS
    from mmseg_bisenet.cli import options
    from mmseg_bisenet.deploy.backends import RUNTIMES
    from mmseg_bisenet.deploy.precision import NAMES

    options.add_config(parser)
    parser.add_argument('checkpoint', nargs='?', help='default: the weights in the package, if any; otherwise random')
    parser.add_argument(
        '--shape', type=int, nargs=2, default=(1024, 2048), metavar=('H', 'W'), help='of the image (default: 1024 2048)'
    )
    known = ', '.join(RUNTIMES)
    parser.add_argument('--runtime', nargs='+', default=['torch'], metavar='NAME', help=f'{known} (default: torch)')
    known = ', '.join(NAMES)
    parser.add_argument('--precision', nargs='+', default=['fp32'], metavar='NAME', help=f'{known} (default: fp32)')
    text = 'ratios are to this runtime (default: stock); none: only the runtimes of --runtime, without baselines'
    parser.add_argument('--vs', default='stock', metavar='NAME', help=text)
    parser.add_argument('--protocol', choices=PROTOCOLS, default='ours', help='what is timed (default: ours)')
    parser.add_argument('--image', metavar='FILE', help='resized to the shape; a drawn street by default')
    parser.add_argument('--calibration', default='', metavar='DIR', help='images for int8; drawn streets by default')
    parser.add_argument('--images', type=int, help='number of timed images (default: 50; 195 with --protocol stock)')
    parser.add_argument(
        '--warmup', type=int, default=5, help='images before those that are timed (default: %(default)s)'
    )
    parser.add_argument('--csv', metavar='FILE', help='write the figures to this file')
    parser.add_argument('--picture', metavar='FILE', help='draw accuracy against speed to this file (.png, .svg, .pdf)')
    add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    import torch

    from mmseg_bisenet.benchmark import comparison, machine, methods, picture, tables
    from mmseg_bisenet.cli import options, preflight
    from mmseg_bisenet.deploy.precision import tf32

    images = (195 if args.protocol == 'stock' else 50) if args.images is None else args.images
    _check(args, images)
    comparison.check(args.runtime, args.precision, args.vs)
    cfg = options.load(args)
    options.note_unread(args, options.OF_TRAINING, 'in a benchmark')
    args.checkpoint = args.checkpoint or shipped_weights(args.config)
    preflight.drop_boosters(cfg)
    _check_config(cfg, args)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    first = comparison.STOCK if methods.has_stock(cfg.model.to_dict()) else comparison.OUR_SEGMENTOR
    vs = first[0] if args.vs == 'stock' else args.vs
    pairs, notes = comparison.choose(args.runtime, args.precision, vs, device, first)
    if first == comparison.OUR_SEGMENTOR:
        notes.append('MMSegmentation has no network of these weights: eager, our segmentor, replaces stock')
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, tf32(False):
        rows, left_out = comparison.compare(_job(args, cfg, device, folder), pairs, vs, images, args.warmup)
        setting = _setting(args, images, vs) | machine.describe(device)
    place = ', both on the GPU' if device == 'cuda' else ''
    span = SPANS[args.protocol].format(place=place, size=cfg.model.data_preprocessor.get('size'))
    print(_head(setting), f'protocol  {args.protocol}: {span}', *notes, *left_out, '', _table(rows), sep='\n')
    if args.csv:
        tables.write_csv(args.csv, [setting | row for row in rows], args.overwrite)
    if args.picture:
        title = '{config}, {height}x{width}, weights: {weights}\n{machine}, {threads} threads'.format(**setting)
        picture.draw(rows, title, args.picture, args.overwrite)
    return 0


# -- options -----------------------------------------------------------------------------------------------------------


def _check(args: argparse.Namespace, count: int) -> None:
    from mmseg_bisenet.cli import preflight
    from mmseg_bisenet.deploy import quantize
    from mmseg_bisenet.files import check_input, identities

    least = 2 * SMALLEST if args.protocol == 'paper' else SMALLEST
    if min(args.shape) < least:
        raise InputError(f'--shape {args.shape[0]} {args.shape[1]}: give {least} or more for both')
    check_pixels('--shape', args.shape[1], args.shape[0])
    if count < 1 or args.warmup < 0:
        raise InputError(f'--images {count} --warmup {args.warmup}: give 1 or more images, and 0 or more to warm up')
    if args.image and not Path(args.image).is_file():
        check_input(args.image)
        state = 'is a folder' if Path(args.image).is_dir() else 'does not exist'
        raise InputError(f'--image {args.image} {state}; give the path of a .png or .jpg file')
    quantize.require_int8(args.precision, args.calibration)
    images = quantize.find_images(args.calibration) if args.calibration else []
    if args.picture and Path(args.picture).suffix not in ('.png', '.svg', '.pdf'):
        raise InputError(f'--picture {args.picture}: give a name that ends in .png, .svg or .pdf')
    inputs = identities(filter(None, (args.config, args.checkpoint, args.image, *images)))
    if args.csv and args.picture and Path(args.csv) == Path(args.picture):
        raise InputError(f'--csv and --picture are both {args.csv}; name two files')
    for option, path in (('--csv', args.csv), ('--picture', args.picture)):
        preflight.require_file(option, path, args.overwrite, inputs)


def shipped_weights(name: str) -> str | None:
    """The weights of a model that are in the package. Others are not downloaded: they change no time."""
    entry = model_index.entries().get(name)
    return str(entry.weights) if entry and isinstance(entry.weights, Path) else None


def _check_config(cfg: 'Config', args: argparse.Namespace) -> None:
    from mmseg_bisenet.checkpoints.fetching import fetch
    from mmseg_bisenet.cli import preflight

    if cfg.model.data_preprocessor.get('size') is None and args.protocol == 'stock':
        raise InputError(
            '--protocol stock: the config has no model.data_preprocessor.size to pad to; set it with --cfg-options'
        )
    if args.checkpoint:
        preflight.require_checkpoint(args.checkpoint)
        args.checkpoint = fetch(args.checkpoint)
        preflight.load_model(cfg, args.checkpoint, preflight.find_datasets(cfg, 'test_dataloader'))


def _job(args: argparse.Namespace, cfg: 'Config', device: str, folder: str) -> 'Job':
    """The config as the command line changed it, and random weights if no checkpoint is given, as files."""
    import torch

    from mmseg_bisenet.benchmark import latency
    from mmseg_bisenet.benchmark.methods import Job
    from mmseg_bisenet.checkpoints.files import Checkpoint, write
    from mmseg_bisenet.files import write_text

    path = Path(folder, f'{Path(args.config).stem}.py')
    write_text(path, cfg.pretty_text)
    checkpoint = args.checkpoint
    if not checkpoint:
        checkpoint = str(Path(folder, 'random.pth'))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            write(checkpoint, Checkpoint(latency.build(cfg, None, 'cpu').state_dict()))
    return Job(str(path), checkpoint, _image(args), args.protocol, device, folder, args.calibration)


def _image(args: argparse.Namespace) -> 'np.ndarray':
    """(H, W, 3) uint8, BGR."""
    import cv2

    from mmseg_bisenet.miniscapes import draw_scene
    from mmseg_bisenet.pixels import read_pixels

    if not args.image:
        return draw_scene(0, tuple(args.shape))[0]
    image = read_pixels(args.image)
    if image is None:
        raise InputError(f'--image {args.image} cannot be read; give a .png or .jpg file')
    return cv2.resize(image, args.shape[::-1], interpolation=cv2.INTER_AREA)


# -- output ------------------------------------------------------------------------------------------------------------


def _setting(args: argparse.Namespace, images: int, vs: str) -> dict:
    return dict(
        config=Path(args.config).stem,
        weights=Path(args.checkpoint).name if args.checkpoint else 'random',
        image=Path(args.image).name if args.image else 'drawn street',
        calibration=Path(args.calibration).name if args.calibration else 'drawn streets',
        height=args.shape[0],
        width=args.shape[1],
        batch=1,
        protocol=args.protocol,
        images=images,
        warmup=args.warmup,
        vs=vs,
    )


def _head(setting: dict) -> str:
    from mmseg_bisenet.benchmark import machine

    versions = ', '.join(f'{name} {setting[name]}' for name in machine.versions() if setting[name])
    rounding = f', convolutions in TF32: {setting["tf32"]}' if 'tf32' in setting else ''
    return (
        '{config}, {height}x{width}, batch {batch}, weights: {weights}, image: {image}\n'
        'machine   {machine}, {cores} cores, {threads} threads' + rounding + '\n'
        f'versions  {versions}\n'
        'times     of {images} images after {warmup}, the methods in turns; ratios of fps to {vs}'
    ).format(**setting)


def _table(rows: list[dict]) -> str:
    from mmseg_bisenet.benchmark import tables

    header = ['runtime', 'precision', *COLUMNS]
    cells = [[row['runtime'], row['precision'], *(_cell(row[key], n) for key, n in COLUMNS.values())] for row in rows]
    return tables.markdown(header, 'll' + 'r' * len(COLUMNS), cells)


def _cell(value: float | str, digits: int) -> str:
    return value if value == '' else f'{value:.{digits}f}'
