"""What every test may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """The folder of data that is not in the repository: CamVid in ``camvid``, a street scene in ``street``."""
    beside = Path(__file__).resolve().parents[2] / 'shared'
    folder = Path(os.environ.get('MMSEG_BISENET_DATA', beside))
    if not folder.is_dir():
        pytest.skip(f'no shared data at {folder}: set MMSEG_BISENET_DATA to the folder that holds camvid and street')
    return folder
