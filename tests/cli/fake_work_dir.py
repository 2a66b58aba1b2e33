"""A work dir with the files of a training and a test, without running either."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 60, 120


def fake_work_dir(folder: Path, count: int = 4, samples: int = 2) -> Path:
    """Write consistent scores, labels and images."""
    rng = np.random.default_rng(0)
    evaluation = folder / 'evaluation'
    (evaluation / 'samples').mkdir(parents=True)
    classes = [f'class {index}' for index in range(count - 1)] + ['<b>last</b> & "odd"']
    confusion = np.zeros((count, count), np.int64)
    listed = []
    for number in range(2 * samples):
        kind, rank = ('best', 'worst')[number // samples], number % samples
        truth = rng.integers(0, count, (6, 12)).repeat(HEIGHT // 6, 0).repeat(WIDTH // 12, 1)
        prediction = np.where(rng.random(truth.shape) < 0.2, rng.integers(0, count, truth.shape), truth)
        truth[:10] = 255
        np.add.at(confusion, (truth[10:], prediction[10:]), 1)
        photo = rng.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        Image.fromarray(photo).save(folder / f'{number} ü.png')
        entry = dict(kind=kind, img_path=str(folder / f'{number} ü.png'), mIoU=90.0 - number, aAcc=95.0 - number)
        for name, ids in (('truth', truth), ('prediction', prediction)):
            entry[name] = f'samples/{kind}_{rank:02d}_{name}.png'
            Image.fromarray(ids.astype(np.uint8)).save(evaluation / entry[name])
        listed.append(entry)
    hit, rows, columns = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    with np.errstate(invalid='ignore'):
        iou, accuracy = 100 * hit / (rows + columns - hit), 100 * hit / rows
    columns = zip(classes, iou, accuracy, 100 * rows / rows.sum(), strict=True)
    per_class = [dict(zip(('class', 'IoU', 'Acc', 'pixels'), map(_plain, row), strict=True)) for row in columns]
    scores = dict(
        config='configs/bisenetv2/bisenetv2_fcn_own.py',
        checkpoint='work/iter_400.pth',
        created='2026-01-02T03:04:05',
        versions={'mmseg_bisenet': '0.1.0', 'torch': '2.13.0'},
        classes=classes,
        palette=[[int(x) for x in rng.integers(0, 255, 3)] for _ in classes],
        summary={'mIoU': float(np.nanmean(iou)), 'aAcc': float(100 * hit.sum() / rows.sum())},
        per_class=per_class,
        confusion=confusion.tolist(),
        per_image=[{key: entry[key] for key in ('img_path', 'mIoU', 'aAcc')} for entry in listed],
        skipped=[],
        samples=listed,
    )
    write_scores(folder, scores)
    return folder


def _plain(value: object) -> object:
    return value if isinstance(value, str) else None if np.isnan(value) else float(value)


def read_scores(folder: Path) -> dict:
    return json.loads((folder / 'evaluation' / 'scores.json').read_text())


def write_scores(folder: Path, scores: dict) -> None:
    (folder / 'evaluation' / 'scores.json').write_text(json.dumps(scores))


def log(folder: Path, run: str, *lines: dict, end: str = '') -> None:
    path = folder / run / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines) + end)


def train(folder: Path) -> None:
    log(folder, '20260101_000000', dict(loss=8.0, lr=0.01, step=10), dict(mIoU=50.0, step=10), dict(loss=1, step=20))
    log(folder, '20260101_000001', dict(mIoU=99.0, step=0))  # a test without training
    log(folder, '20260101_000002', dict(loss=2.0, lr=0.005, step=20), dict(mIoU=60.0, step=20), end='{"loss": 3')
