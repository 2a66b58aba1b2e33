"""Folders that a config names for logs and pictures. Without them everything goes to the folder of the run."""

from pathlib import Path

from mmengine.config import Config

from mmseg_bisenet.files import EVALUATION, check_output, require_outside, require_writable


def require_new_folders(cfg: Config) -> list[str]:
    """Refuse folders of logs and pictures that hold something: MMEngine's files there have fixed names.

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
