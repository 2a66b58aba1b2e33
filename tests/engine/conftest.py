"""The small training that several tests look at."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mmseg_bisenet.cli import main

NAME = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256'
# The images are not resized. The last batch of the evaluation is not full.
OPTIONS = [
    'scale=(128,64)',
    'crop_size=(64,64)',
    'train_dataloader.batch_size=2',
    'val_dataloader.batch_size=2',
    *(f'{name}_dataloader.{key}' for name in ('train', 'val') for key in ('num_workers=0', 'persistent_workers=False')),
    'train_cfg.max_iters=5',
    'train_cfg.val_interval=2',
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.interval=3',
    'default_hooks.pictures.count=2',
]


@pytest.fixture(scope='session')
def train(drawn) -> Callable[..., None]:
    """Trains for five iterations, with evaluations after 2, 4 and 5. Arguments: work dir, changes, other options."""

    def run(work_dir: Path, *changes: str, options: tuple[str, ...] = ()) -> None:
        # MMEngine keeps visualizers by name as long as the process lives.
        name = f'visualizer.name={work_dir}{"".join(options)}'
        arguments = ['--work-dir', str(work_dir), *options, '--cfg-options', *OPTIONS, name, *changes]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv('MMSEG_BISENET_DATA', str(drawn))
            assert main(['train', NAME, *arguments]) == 0

    return run


@pytest.fixture(scope='session')
def trained(train, tmp_path_factory) -> Path:
    """The work dir of the training, which is not to be changed."""
    folder = tmp_path_factory.mktemp('trained')
    train(folder)
    return folder
