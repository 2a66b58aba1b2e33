"""Places that a config names for logs, pictures and results. Without them all goes to the folder of the run."""

import os
from pathlib import Path

from mmengine.config import Config

from mmseg_bisenet.config.rules import metrics
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import check_output, require_outside, require_writable
from mmseg_bisenet.own_results import EVALUATION


def require_new_folders(cfg: Config) -> list[str]:
    """Refuse folders of logs and pictures that hold something, where MMEngine's files have fixed names.

    Returns:
        The keys of the config that name a folder for pictures.

    Raises:
        InputError: it names the folder and the key.
    """
    visualizer, logger = cfg.get('visualizer') or {}, (cfg.get('default_hooks') or {}).get('logger') or {}
    backends = enumerate(visualizer.get('vis_backends') or ())
    found = {f'visualizer.vis_backends.{i}.save_dir': backend.get('save_dir') for i, backend in backends}
    found['visualizer.save_dir'] = visualizer.get('save_dir')
    folders = {key: folder for key, folder in found.items() if folder}
    logs = logger.get('out_dir')
    for key, folder in {
        **folders,
        'default_hooks.logger.out_dir': logs and Path(logs, Path(cfg.work_dir).name),
    }.items():
        if folder:
            check_output(folder, folder=True, fix=f'name a new folder with {key}, or leave it out')
            require_outside(folder, Path(cfg.work_dir, EVALUATION), f'name another folder with {key}')
            require_writable(key, folder)
    return list(folders)


def require_new_file(cfg: Config, evaluator: str) -> None:
    """Refuse a file that MMEngine's ``DumpResults`` in ``val_evaluator`` or ``test_evaluator`` would replace.

    Raises:
        InputError: it names the file and the key.
    """
    for metric in metrics(cfg, evaluator):
        if (file := metric.get('out_file_path')) and os.path.lexists(file):
            raise InputError(f'{file} exists already; name a new file with {evaluator}.out_file_path')
