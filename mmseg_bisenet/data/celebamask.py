"""CelebAMask-HQ: 30,000 faces of CelebA-HQ with 19 classes.

C.-H. Lee, Z. Liu, L. Wu and P. Luo, "MaskGAN: Towards Diverse and Interactive Facial Image Manipulation", CVPR 2020.
Classes have the order of zllrunning/face-parsing.PyTorch, and colours are those of the data set's own code. Left and
right are the person's. A flip has to swap them: ``RandomFlip`` with ``swap_seg_labels``.

Layout: ``images/{train,val,test}`` and ``labels/{train,val,test}``; image and label have the same number as name.
:func:`convert_celebamask` creates it from the folders of the data set, which has one mask for each part of each face.
"""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from mmseg.datasets import BaseSegDataset
from PIL import Image

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import check_input, check_output, replacing
from mmseg_bisenet.pixels import SUFFIXES
from mmseg_bisenet.registry import DATASETS

COLOURS = {
    'background': [0, 0, 0],
    'skin': [204, 0, 0],
    'l_brow': [0, 255, 255],
    'r_brow': [255, 204, 204],
    'l_eye': [51, 51, 255],
    'r_eye': [204, 0, 204],
    'eye_g': [204, 204, 0],
    'l_ear': [102, 51, 0],
    'r_ear': [255, 0, 0],
    'ear_r': [0, 204, 204],
    'nose': [76, 153, 0],
    'mouth': [102, 204, 0],
    'u_lip': [255, 255, 0],
    'l_lip': [0, 0, 153],
    'neck': [255, 153, 51],
    'neck_l': [0, 51, 0],
    'cloth': [0, 204, 0],
    'hair': [0, 0, 204],
    'hat': [255, 51, 153],
}
PARTS = tuple(COLOURS)[1:]
FOLDER_SIZE = 2000  # faces in each folder of masks
NOISE = 63  # how far a value of a mask may be from 0 and 255, as after JPEG; the masks of the data set have none
# CelebA's partition, by the number of the original file.
SPLITS = {'train': range(1, 162771), 'val': range(162771, 182638), 'test': range(182638, 202600)}


@DATASETS.register_module()
class CelebAMaskHQDataset(BaseSegDataset):
    """CelebAMask-HQ, 19 classes.

    Args:
        img_suffix: suffix of the images.
        kwargs: arguments of :class:`mmseg.datasets.BaseSegDataset`, such as ``data_root='data/celebamask'`` and
            ``data_prefix=dict(img_path='images/train', seg_map_path='labels/train')``.
    """

    METAINFO = dict(classes=tuple(COLOURS), palette=list(COLOURS.values()))

    def __init__(self, img_suffix: str = '.jpg', **kwargs: Any) -> None:
        super().__init__(img_suffix=img_suffix, **kwargs)


def convert_celebamask(source: str | os.PathLike, target: str | os.PathLike) -> dict[str, int]:
    """Create the layout of :class:`CelebAMaskHQDataset` from the folders of the data set.

    Parts are drawn in the order of the classes, a later one over the earlier ones. A label is enlarged to the size of
    its image by nearest neighbour, so that each pixel of a mask becomes a block. Images are copied byte for byte. The
    split is that of CelebA. ``target`` appears when it is complete. Progress is printed to standard error.

    Args:
        source: contains ``CelebA-HQ-img``, ``CelebAMask-HQ-mask-anno`` and ``CelebA-HQ-to-CelebA-mapping.txt``.
        target: a folder that does not exist yet.

    Returns:
        The number of images of each split.

    Raises:
        InputError: ``target`` exists or cannot be written; a folder or the mapping is missing; the mapping lacks an
            image, has one twice, or a line of another form; an image has no mask; an image or a mask has a name that no
            face gets; a file cannot be read; a mask has other values than 0 and 255, another size than the others of
            its image, or one that its image's is no multiple of. The message names the file.
    """
    source, target = Path(source), Path(target)
    check_output(target, folder=True, fix='name another folder')
    faces = _faces(source)
    counts = dict.fromkeys(SPLITS, 0)
    with replacing(target) as partial:
        for kind in ('images', 'labels'):
            for split in SPLITS:
                (partial / kind / split).mkdir(parents=True)
        for done, (number, split) in enumerate(faces.items(), 1):
            image = source / 'CelebA-HQ-img' / f'{number}.jpg'
            label = draw_parts(image, source / 'CelebAMask-HQ-mask-anno' / str(number // FOLDER_SIZE), number)
            Image.fromarray(label).save(partial / 'labels' / split / f'{number}.png')
            shutil.copyfile(image, partial / 'images' / split / image.name)
            counts[split] += 1
            if done % 1000 == 0 or done == len(faces):
                print(f'{done} of {len(faces)} images', file=sys.stderr)
    return counts


def draw_parts(image: Path, folder: Path, number: int) -> np.ndarray:
    """The label map of a face, (H, W) uint8 class indices, of the size of its image.

    Args:
        image: the file of the face.
        folder: of the masks, named ``NUMBER_PART.png`` with five digits; a part that is not seen has no file.
        number: of the face.

    Raises:
        InputError: as :func:`convert_celebamask`.
    """
    width, height = _open(image).size
    masks = {index: folder / f'{number:05d}_{part}.png' for index, part in enumerate(PARTS, 1)}
    masks = {index: path for index, path in masks.items() if os.path.lexists(path)}
    if not masks:
        raise InputError(f'{image}: there is no mask such as {folder / f"{number:05d}_skin.png"}; add its masks')
    first = next(iter(masks.values()))
    columns, rows = _open(first).size
    factor = height // rows
    if factor < 1 or (height, width) != (factor * rows, factor * columns):
        raise InputError(
            f'{first}: the mask is {columns}x{rows} and the image {width}x{height} (width x height), which is no '
            'multiple of it; give the images and masks of the data set, unchanged'
        )
    label = np.zeros((rows, columns), np.uint8)
    for index, path in masks.items():
        mask = _open(path).convert('L')
        if mask.size != (columns, rows):
            raise InputError(
                f'{path}: the mask is {mask.width}x{mask.height} and {first} {columns}x{rows} (width x height); '
                'download the masks again'
            )
        pixels = np.asarray(mask)
        if (pixels.max() > 0 and pixels.max() < 255 - NOISE) or ((pixels > NOISE) & (pixels < 255 - NOISE)).any():
            values = np.unique(pixels)
            shown = ', '.join(map(str, values[:5])) + (', …' if len(values) > 5 else '')
            raise InputError(f'{path}: the mask has the values {shown}; give masks of 0 and 255, as in the data set')
        label[pixels > 127] = index
    return label.repeat(factor, 0).repeat(factor, 1)


def _faces(source: Path) -> dict[int, str]:
    """The split of each image, by its number, in the order of the numbers."""
    images, masks = source / 'CelebA-HQ-img', source / 'CelebAMask-HQ-mask-anno'
    mapping = source / 'CelebA-HQ-to-CelebA-mapping.txt'
    missing = [path.name for path in (images, masks, mapping) if not path.exists()]
    if missing:
        raise InputError(
            f'{source}: no {" and no ".join(missing)}; give the folder CelebAMask-HQ, with CelebA-HQ-img, '
            'CelebAMask-HQ-mask-anno and CelebA-HQ-to-CelebA-mapping.txt'
        )
    _require_parts(masks)
    numbers = _numbers(images)
    originals = _originals(mapping)
    for number in numbers:
        if number not in originals:
            raise InputError(f'{images / f"{number}.jpg"}: {mapping} has no line for it; download that file again')
        if not any(originals[number] in files for files in SPLITS.values()):
            raise InputError(f'{mapping}: image {originals[number]} is not of CelebA; download that file again')
    if without := originals.keys() - set(numbers):
        print(f'faces without an image are left out: {len(without)}, the first {min(without)}.jpg', file=sys.stderr)
    return {n: next(split for split, files in SPLITS.items() if originals[n] in files) for n in numbers}


def _numbers(folder: Path) -> list[int]:
    """The numbers of the images, in order. Images of another name are refused, as they would be left out."""
    paths = _images(folder)
    for path in paths:
        if not re.fullmatch(r'(0|[1-9][0-9]*)\.jpg', path.relative_to(folder).as_posix()):
            raise InputError(f'{path} is no image of the data set, and would be left out; name it as {folder}/0.jpg')
    if not paths:
        raise InputError(f'{folder}: the folder contains no image such as 0.jpg; give the images of the data set')
    return sorted(int(path.stem) for path in paths)


def _originals(mapping: Path) -> dict[int, int]:
    """The number of each face's file in CelebA."""
    check_input(mapping)
    lines = mapping.read_bytes().decode('utf-8', 'replace').splitlines()
    originals: dict[int, int] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or (number == 1 and words == ['idx', 'orig_idx', 'orig_file']):
            continue
        row = re.fullmatch(r'([0-9]+) [0-9]+ ([0-9]+)\.jpg', ' '.join(words))
        if not row:
            raise InputError(f'{mapping}: line {number} is not as "0 119613 119614.jpg"; download that file again')
        face, original = map(int, row.groups())
        if face in originals:
            raise InputError(f'{mapping}: line {number} has face {face} again; download that file again')
        originals[face] = original
    return originals


def _images(folder: Path) -> list[Path]:
    """What has the name of an image in the folder and those below, but for hidden files."""
    paths = sorted(folder.rglob('[!.]*'))
    return [path for path in paths if path.suffix.lower() in SUFFIXES and not path.is_dir()]


def _require_parts(folder: Path) -> None:
    """Refuse masks that no face would get."""
    for path in _images(folder):
        number, _, part = path.stem.partition('_')
        place = number.isdecimal() and f'{int(number) // FOLDER_SIZE}/{int(number):05d}_{part}.png'
        if part not in PARTS or path.relative_to(folder).as_posix() != place:
            raise InputError(
                f'{path} is no mask of the data set, and would be left out; name it as {folder}/0/00000_skin.png, with '
                f'one of the parts {", ".join(PARTS)}, in the folder of its {FOLDER_SIZE} faces'
            )


def _open(path: Path) -> Image.Image:
    check_input(path)
    try:
        image = Image.open(path)
        image.load()
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError and zlib.error for broken files
        raise InputError(f'{path}: not a readable image ({type(error).__name__}); download the file again') from error
    return image
