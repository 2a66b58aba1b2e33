"""The import order of the packages, as the contracts in pyproject.toml say it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_imports_run_one_way():
    lint = Path(sys.executable).with_name('lint-imports')
    done = subprocess.run([lint, '--no-cache'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
