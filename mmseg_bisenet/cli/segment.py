"""``mmseg-bisenet segment IMAGE …``: segment images; write the labels and a picture of each."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.palette import paint

if TYPE_CHECKING:
    import numpy as np
    from mmengine.config import Config

SHIPPED = 'bisenetv2_camvid'
BLEND = 0.6  # share of the colours; the rest is the image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='image files, such as PNG and JPEG')
    parser.add_argument(
        '--model',
        default=SHIPPED,
        metavar='NAME',
        help='name of a model, or path of a config (default: %(default)s)',
    )
    parser.add_argument('--checkpoint', metavar='FILE', help='default: the weights of the model index')
    parser.add_argument(
        '--height',
        type=int,
        metavar='PIXELS',
        help='height of the network input (default: that of the test pipeline)',
    )
    parser.add_argument('--output', default='segmented', metavar='DIR', help='folder to write (default: %(default)s)')


def run(args: argparse.Namespace) -> int:
    import cv2
    import torch

    from mmseg_bisenet import model_index
    from mmseg_bisenet.cli.options import find
    from mmseg_bisenet.cli.preflight import require_writable
    from mmseg_bisenet.deploy import load
    from mmseg_bisenet.zoo import get_model

    require_writable('--output', args.output)
    names = [Path(image).stem for image in args.images]
    if len(set(names)) < len(names):
        raise InputError(f'two images have the same name: {" ".join(sorted(args.images))}; segment them one at a time')
    folder = Path(args.output)
    _keep_photos(args.images, [folder / file for name in names for file in _files(name)])
    source = args.model if args.model in model_index.entries() else str(find(args.model))
    model = get_model(source, args.checkpoint or True)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    segment = load(model, runtime='torch', device=device)
    height = args.height or _tested_height(model.cfg)
    if height < 1:
        raise InputError(f'--height {height}: give 1 or more')
    folder.mkdir(parents=True, exist_ok=True)
    for path, name in zip(args.images, names, strict=True):
        photo = cv2.imread(path)
        if photo is None:
            raise InputError(f'image {path} is missing, or OpenCV cannot read it; give the path of a PNG or JPEG file')
        width = max(1, round(height * photo.shape[1] / photo.shape[0]))
        small = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
        labels = cv2.resize(cast('np.ndarray', segment(small)), photo.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        for file, content in zip(_files(name), (labels, _picture(photo, labels, segment.palette)), strict=True):
            if not cv2.imwrite(str(folder / file), content):
                raise InputError(f'{folder / file} cannot be written; name another folder with --output')
        shares = [(float((labels == i).mean()), text) for i, text in enumerate(segment.classes)]
        print(f'{folder / name}.jpg:', ', '.join(f'{text} {share:.0%}' for share, text in sorted(shares)[:-5:-1]))
    return 0


def _files(name: str) -> tuple[str, str]:
    """The names of the files that are written for an image: labels and picture."""
    return f'{name}_labels.png', f'{name}.jpg'


def _keep_photos(images: list[str], files: list[Path]) -> None:
    """Refuse to overwrite one of the images, however its path is written."""
    for file in files:
        if file.exists() and any(Path(image).exists() and file.samefile(image) for image in images):
            raise InputError(
                f'{file} is one of the images, and would be overwritten; name another folder with --output'
            )


def _tested_height(cfg: 'Config') -> int:
    """The height that the test pipeline resizes to."""
    for step in cfg.test_pipeline:
        if step['type'] == 'Resize':
            return min(step['scale'])  # (width, height) of landscape images
    return cfg.crop_size[0]


def _picture(photo: 'np.ndarray', labels: 'np.ndarray', palette: list) -> 'np.ndarray':
    """Draw the image, and beside it the image blended with the colours of the classes, (H, 2 W, 3) BGR."""
    import numpy as np

    colours = paint(labels, palette)[..., ::-1]
    return np.hstack([photo, (BLEND * colours + (1 - BLEND) * photo).astype(np.uint8)])
