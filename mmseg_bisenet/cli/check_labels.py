"""``mmseg-bisenet check-labels CONFIG``: check every file of its data sets, and count the classes."""

import argparse
import csv
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import require_writable, write_text
from mmseg_bisenet.own_results import replacing_own, require_own

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmseg.datasets import BaseSegDataset
    from torch.utils.data import Dataset

    from mmseg_bisenet.cli.preflight import DataSets
    from mmseg_bisenet.data.label_check import LabelCheck, Report

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
SHOWN = 20  # wrong files that are printed; problems.txt lists all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from mmseg_bisenet.cli import options

    options.add_arguments(parser)
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count(), help='number of processes (default: %(default)s)'
    )


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import track

    from mmseg_bisenet.cli import options, preflight
    from mmseg_bisenet.data import label_check

    if args.workers < 1:
        raise InputError(f'--workers is {args.workers}; give 1 or more')
    cfg = options.load(args)
    folder = Path(cfg.work_dir) / 'check_labels'
    require_writable('--work-dir', folder)
    require_own(folder)
    loaders = [name for name in LOADERS if cfg.get(name)]
    datasets = preflight.check_data(cfg, *loaders)
    reports = {}
    for name, check in _checks(cfg, loaders, datasets).items():
        findings = label_check.walk(check, args.workers)
        shown = track(findings, name, total=len(check), console=Console(stderr=True))
        reports[name] = label_check.report(check, shown)
        print(_summary(name, reports[name]), end='\n\n')
    _write(folder, reports)
    wrong = sum(len(result.problems) for result in reports.values())
    if wrong:
        raise InputError(f'{wrong} files are wrong; fix those in {folder / "problems.txt"}, then run this again')
    print(f'all files are correct; table and pictures are in {folder}')
    return 0


def _checks(cfg: 'Config', loaders: list[str], datasets: 'DataSets') -> dict[str, 'LabelCheck']:
    """The data sets by name, such as ``train``, or ``val-test`` if both are the same."""
    from mmengine.registry import init_default_scope
    from mmseg.registry import DATASETS

    from mmseg_bisenet.cli.launch import with_built
    from mmseg_bisenet.data.label_check import LabelCheck

    init_default_scope(cfg.get('default_scope', 'mmseg'))
    names: dict[str, list[str]] = {}
    checks: dict[str, LabelCheck] = {}
    for loader in loaders:
        built = DATASETS.build(with_built(cfg, f'{loader}.dataset', datasets))
        for number, dataset in enumerate(_inner(built)):
            key = repr((dataset.data_prefix, dataset.ann_file, dataset.img_suffix, dataset.seg_map_suffix))
            name = loader.removesuffix('_dataloader') + (str(number + 1) if number else '')
            names.setdefault(key, []).append(name)
            if key not in checks:
                checks[key] = LabelCheck(dataset)
    return {'-'.join(names[key]): check for key, check in checks.items()}


def _inner(dataset: 'Dataset') -> list['BaseSegDataset']:
    """The data sets inside wrappers such as RepeatDataset and ConcatDataset."""
    wrapped = [dataset.dataset] if hasattr(dataset, 'dataset') else getattr(dataset, 'datasets', [])
    return [inner for item in wrapped for inner in _inner(item)] if wrapped else [dataset]


def _summary(name: str, result: 'Report') -> str:
    """The report as text: counts, fixes with examples, the table of classes, and class weights for training."""
    lines = [
        f'{name}: {result.images} images, {result.without_label} without label; '
        f'{result.without_image} labels without image; {len(result.problems)} files are wrong'
    ]
    fixes = result.fixes()
    for fix, count in fixes:
        lines.append(f'  {count} x {fix}:')
        examples = [line for line in result.problems if line.endswith(f'; {fix}')]
        lines += [f'    {line.removesuffix(f"; {fix}")}' for line in examples[: max(1, SHOWN // len(fixes))]]
    width = max(len('class'), *map(len, result.classes))
    lines.append(f'  {"class":{width}}  pixels, %  images, %    ({result.counted} correct labels)')
    for label, pixels, images in zip(result.classes, result.pixel_share, result.image_share, strict=True):
        never = '' if images else '  never'
        lines.append(f'  {label:{width}}  {100 * pixels:9.4f}  {100 * images:9.2f}{never}')
    lines.append(f'  {"ignored":{width}}  {100 * result.ignored_share:9.4f}  (of all pixels)')
    if name.startswith('train'):
        lines.append(f'  for loss_decode, as in ENet: class_weight={result.class_weight()}')
    return '\n'.join(lines)


def _write(folder: Path, reports: dict[str, 'Report']) -> None:
    """Write ``problems.txt``, ``classes.csv`` and a picture for each data set, instead of those of the last run."""
    from mmseg_bisenet.data.label_check import draw

    problems = [line for result in reports.values() for line in result.problems]
    with replacing_own(folder) as partial:
        partial.mkdir()
        write_text(partial / 'problems.txt', ''.join(f'{line}\n' for line in problems))
        write_text(partial / 'classes.csv', _table(reports))
        for name, result in reports.items():
            draw(result, f'{name}: {result.counted} labels', partial / f'{name}.png')
    print(f'wrote {folder}', file=sys.stderr)


def _table(reports: dict[str, 'Report']) -> str:
    """Counts of each class as CSV."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(['dataset', 'class', 'pixels', 'pixel_share', 'images', 'image_share'])
    for name, result in reports.items():
        columns = (result.classes, result.pixels, result.pixel_share, result.occurs, result.image_share)
        writer.writerows([name, *row] for row in zip(*columns, strict=True))
    return table.getvalue()
