"""A config for a user's folder of images and masks: the folder is checked, and a short file is written.

The folder has ``images/train``, ``images/val``, ``masks/train`` and ``masks/val``. The mask of ``images/train/a/b.jpg``
is ``masks/train/a/b.png``: one channel of class ids; 255 marks pixels to ignore.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from mmseg.datasets import BaseSegDataset

from mmseg_bisenet.data import label_check
from mmseg_bisenet.data.transforms import LoadAnnotations
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import check_input
from mmseg_bisenet.palette import distinct
from mmseg_bisenet.pixels import SUFFIXES

SPLITS = ('train', 'val')
LAYOUT = 'put images in images/train and images/val, and masks of the same names in masks/train and masks/val'
MOST_CLASSES = 255  # ids have 8 bits, and 255 is ignored
# Title and base of each network.
MODELS = {
    'v2': ('BiSeNet V2', 'bisenetv2/bisenetv2_fcn_1xb16-20k_own-folder-512x512.py'),
    'v1': ('BiSeNet V1 with ResNet-18', 'bisenetv1/bisenetv1_r18-d32_1xb16-20k_own-folder-512x512.py'),
}
CONFIG = """\
# {title} on your own images. Change the first lines as you like; those below the empty line follow from them.
_base_ = 'mmseg_bisenet::{base}'
data_root = {root!r}  # holds images/train, images/val, masks/train, masks/val
img_suffix = {suffix!r}
classes = [  # name and colour (red, green, blue), in the order of the ids in the masks: 0, 1 and so on; 255 is ignored
{classes}
]
iterations = 1000  # of {batch} images each; for a few hundred images or fewer
learning_rate = 0.001

names, palette = zip(*classes)
data = dict(data_root=data_root, img_suffix=img_suffix, metainfo=dict(classes=names, palette=palette))
train_dataloader = dict(batch_size={batch}, dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
model = dict(num_classes=len(classes))
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=learning_rate, weight_decay=0.01))
warm_up, interval = max(2, iterations // 20), max(1, iterations // 10)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=warm_up, by_epoch=False),
    dict(type='PolyLR', eta_min=1e-5, power=0.9, begin=warm_up, end=max(iterations, warm_up + 1), by_epoch=False),
]
train_cfg = dict(max_iters=iterations, val_interval=interval)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=interval, max_keep_ckpts=1))
auto_scale_lr = dict(base_batch_size={batch})
"""
BATCH = 8


def check_classes(names: Sequence[str]) -> None:
    """Refuse names that cannot be those of different classes.

    Raises:
        InputError: it has the name.
    """
    seen: dict[str, str] = {}
    for name in names:
        if not name.strip() or not name.isprintable() or '{{' in name:  # MMEngine replaces {{...}} in configs
            raise InputError(f'--classes: {name!r} is no name; give a word for each class')
        key = name.strip().casefold()
        if key in seen:
            raise InputError(f'--classes: {seen[key]!r} and {name!r} are the same name; give each class one of its own')
        seen[key] = name
    if not 2 <= len(names) <= MOST_CLASSES:
        raise InputError(
            f'--classes has {len(names)} names; give 2 to {MOST_CLASSES}, separated by spaces, such as background road'
        )


def find_suffix(folder: Path) -> str:
    """The one suffix of the images in ``folder``.

    Raises:
        InputError: a folder is missing; a split has no image, or a pipe or a link to nothing among them; or images have
            several suffixes.
    """
    if '{{' in os.path.abspath(folder):
        raise InputError(f'{folder}: MMEngine replaces {{{{ in configs; rename the folder')
    for name in (f'{kind}/{split}' for kind in ('images', 'masks') for split in SPLITS):
        if not (folder / name).is_dir():
            raise InputError(f'{folder} has no folder {name}; {LAYOUT}')
    counts: Counter[str] = Counter()
    for split in SPLITS:
        files = [file for file in (folder / 'images' / split).rglob('[!.]*') if file.suffix.lower() in SUFFIXES]
        for file in files:
            check_input(file)  # the data set would leave out what is no file
        found = Counter(file.suffix for file in files if file.is_file())
        if not found:
            raise InputError(f'{folder}/images/{split} has no image; {LAYOUT}')
        counts += found
    if len(counts) > 1:
        listed = ' and '.join(f'{number} {suffix}' for suffix, number in counts.most_common())
        raise InputError(f'{folder}/images has {listed} files; save all images in one format, with one suffix')
    return next(iter(counts))


def check_masks(
    folder: Path,
    suffix: str,
    classes: Sequence[str],
    progress: Callable[[Iterable[label_check.Finding], str, int], Iterable[label_check.Finding]],
) -> dict[str, label_check.Report]:
    """Read every image and mask.

    Args:
        folder: of the user.
        suffix: of the images.
        classes: their names.
        progress: gets the findings of a split, its name and its number of images; yields the findings.

    Returns:
        The counts of each split. All files are correct.

    Raises:
        InputError: it has the first wrong file, and the number of others; or the training masks hold only one class.
    """
    reports = {}
    for split in SPLITS:
        dataset = BaseSegDataset(
            data_root=str(folder),
            data_prefix=dict(img_path=f'images/{split}', seg_map_path=f'masks/{split}'),
            img_suffix=suffix,
            metainfo=dict(classes=list(classes)),
            pipeline=[LoadAnnotations(len(classes))],
        )
        check = label_check.LabelCheck(dataset)
        # A few hundred files take less time than a process.
        findings = label_check.walk(check, workers=min(os.cpu_count() or 1, len(check) // 200))
        reports[split] = label_check.report(check, progress(findings, split, len(check)))
    problems = [line for report in reports.values() for line in report.problems]
    if problems:
        more = f' (and {len(problems) - 1} more files are wrong)' if len(problems) > 1 else ''
        raise InputError(
            f'{problems[0].rpartition("; ")[0]}{more}; each image needs a PNG mask of its name and size, with one '
            f'channel of ids from 0 to {len(classes) - 1}, or 255 to ignore'
        )
    occurs = reports['train'].occurs
    if np.count_nonzero(occurs) == 1:
        only = int(occurs.argmax())
        raise InputError(
            f'{folder}/masks/train has only class {only} ({classes[only]}); write the id of its class into each pixel '
            '(0, 1 and so on), because 255 is ignored'
        )
    return reports


def config(folder: Path, suffix: str, classes: Sequence[str], model: str) -> str:
    """The text of the config.

    Args:
        folder: of the user.
        suffix: of the images.
        classes: their names.
        model: a key of ``MODELS``.
    """
    title, base = MODELS[model]
    lines = [f'    {row!r},' for row in zip(classes, distinct(len(classes)), strict=True)]
    root = os.path.abspath(folder)
    return CONFIG.format(title=title, base=base, root=root, suffix=suffix, classes='\n'.join(lines), batch=BATCH)
