"""Environments with this checkout and the packages of some extras, and nothing else of the one that runs the tests."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
# The stack brings the other wheel of OpenCV, with the same module.
INSTEAD = {'opencv-python-headless': 'opencv-python'}


class Clean:
    """An interpreter that finds the package, its dependencies, and those of the extras."""

    def __init__(self, folder: Path, *extras: str) -> None:
        self.folder = folder
        self.site = folder / 'site'
        self.site.mkdir()
        (self.site / 'mmseg_bisenet').symlink_to(ROOT / 'mmseg_bisenet')
        own = importlib.metadata.distribution('mmseg_bisenet')  # its metadata say whether the installation is editable
        (info,) = {file.parts[0] for file in own.files if file.parts[0].endswith('.dist-info')}
        (self.site / info).symlink_to(own.locate_file(info))
        text = (ROOT / 'pyproject.toml').read_text()
        lists = [re.search(rf'^{name} = (\[.*?\])', text, re.M | re.S) for name in ('dependencies', *extras)]
        for name in needed([requirement for found in lists for requirement in ast.literal_eval(found[1])]):
            distribution = importlib.metadata.distribution(name)
            for top in {file.parts[0] for file in distribution.files} - {'..', '__pycache__'}:
                (self.site / top).symlink_to(distribution.locate_file(top))

    def __call__(self, *arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess:
        """Run Python there, away from the checkout."""
        done = subprocess.run(
            [sys.executable, '-S', *map(str, arguments)],
            cwd=self.folder,
            env=os.environ | dict(PYTHONPATH=str(self.site), OMP_NUM_THREADS='1'),
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stderr[-3000:]
        return done


def needed(requirements: list[str]) -> set[str]:
    """The distributions that requirements name, and those that these need."""
    found: set[str] = set()
    todo = [*map(Requirement, requirements)]
    while todo:
        requirement = todo.pop()
        name = INSTEAD.get(requirement.name, requirement.name)
        if name not in found and (requirement.marker is None or requirement.marker.evaluate(dict(extra=''))):
            found.add(name)
            todo += map(Requirement, importlib.metadata.requires(name) or ())
    return found
