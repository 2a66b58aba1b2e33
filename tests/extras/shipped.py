"""The shipped model as a file of one format: what the tests of the extras with a runtime share."""

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from deploy.about import write_about

from mmseg_bisenet.cli import main
from mmseg_bisenet.deploy import load
from mmseg_bisenet.deploy.backends.base import beside
from mmseg_bisenet.deploy.metadata import read_metadata
from mmseg_bisenet.miniscapes.scene import draw_scene

SHAPE = (96, 128)
LABELS = """
import sys
import cv2
from mmseg_bisenet.deploy import load

cv2.imwrite(sys.argv[3], load(sys.argv[1])(cv2.imread(sys.argv[2])))
print('torch' in sys.modules)
"""


def export(format: str, folder: Path, *options: str) -> Path:
    """The file that the command writes."""
    shape = map(str, SHAPE)
    command = ['export', 'bisenetv2_camvid', '--format', format, '--shape', *shape, '--output', str(folder), *options]
    assert main(command) == 0
    (metadata,) = folder.glob('*.json')
    return metadata.with_suffix('')


def check(file: Path, runtime: str, precision: str, right: float, capsys) -> None:
    """`verify` finds that share of right labels or more; the file says what it is."""
    assert main(['verify', str(file)]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == f'{file}: {runtime} in {precision}, 96x128'
    assert float(re.fullmatch(r'labels  ([\d.]+)% are those of PyTorch .*', second)[1]) >= 100 * right
    assert third.endswith('ms an image, median')
    about = read_metadata(file)
    assert (about['format'], about['precision'], about['shape']) == (runtime, precision, list(SHAPE))
    assert about['classes'][:2] == ['sky', 'building'] and len(about['classes']) == len(about['palette']) == 11
    assert len(about['mean']) == len(about['std']) == 3 and runtime in ' '.join(about['versions'])


def labels_in_another_process(file: Path, folder: Path) -> bool:
    """Labels of a file in a new process are those of PyTorch; returns whether that process imported PyTorch."""
    image = draw_scene(3, SHAPE)[0]
    cv2.imwrite(str(folder / 'image.png'), image)
    arguments = [sys.executable, '-c', LABELS, file, folder / 'image.png', folder / 'labels.png']
    done = subprocess.run([*map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    labels = cv2.imread(str(folder / 'labels.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels, load('bisenetv2_camvid', runtime='torch', shape=SHAPE)(image))
    assert len(np.unique(labels)) > 2
    return done.stdout == 'True\n'


def of_another_program(file: Path, folder: Path) -> Path:
    """A copy whose graph is zeros, with their checksum: an older one would be told first."""
    for part in file.parent.glob(f'{file.name}*'):
        (folder / part.name).write_bytes(part.read_bytes())
    path = folder / file.name
    path.write_bytes(bytes(path.stat().st_size))
    write_about(path, json.loads(beside(path).read_text()))
    return path
