"""MMEngine's ``CheckpointHook``, which loses no checkpoint whenever the training ends.

Deviations from stock:

- A checkpoint is written beside its place, and takes it when it is on the disk. Stock writes in place.
- What a new checkpoint makes superfluous, the oldest one or the best so far, goes after the new one is written, not
  before.
- ``--resume`` goes on from the newest whole checkpoint where the one that ``last_checkpoint`` names is damaged or gone,
  or where that file itself is: it can always be made anew, and stock goes on writing it in place.
- A checkpoint that comes with an evaluation is written again with its scores, which stock does for a new best only. A
  run that ended before that evaluates first when it is resumed (:mod:`mmseg_bisenet.engine.train_loop`).
"""

import os
import re
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from mmengine import dist
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner, find_latest_checkpoint

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.registry import HOOKS

BACKEND = 'mmseg_bisenet.atomic'
PART = '.part'


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """Stock hook with stock arguments, for folders: ``backend_args`` and an ``out_dir`` elsewhere are refused.

    Raises:
        InputError: storage other than folders; a checkpoint that cannot be written; a run to resume whose checkpoints
            are all damaged.
    """

    saved_iter: int | None = None

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.backend_args or self.file_client_args or '://' in str(self.out_dir):
            raise InputError('default_hooks.checkpoint: AtomicCheckpointHook writes to folders; use CheckpointHook')
        self.backend_args = dict(backend=BACKEND)

    def before_run(self, runner: Runner) -> None:
        """Let MMEngine, which looks for a checkpoint to resume after this, find a whole one."""
        if runner._resume and runner._load_from is None:
            if dist.is_main_process():
                self._mend_last_checkpoint(runner)
            dist.barrier()
            last = find_latest_checkpoint(runner.work_dir)
            names = dist.all_gather_object(Path(last).name if last and Path(last).is_file() else None)
            if len(set(names)) > 1:
                raise InputError(
                    f'--resume: processes see different checkpoints ({", ".join(map(str, names))}); share '
                    f'{runner.work_dir} among the machines, or copy it from the first'
                )

    def before_train(self, runner: Runner) -> None:
        """Remove what a killed write has left."""
        super().before_train(runner)
        if dist.is_main_process():
            for part in Path(self.out_dir).glob(f'*.pth{PART}'):
                part.unlink()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Save the best, and the scores with the checkpoint of the same iteration, whose count has gone up since."""
        super().after_val_epoch(runner, metrics)
        if self.saved_iter == runner.iter - 1:
            self._save_checkpoint_with_step(runner, runner.iter, dict(epoch=runner.epoch, iter=runner.iter))
            self.saved_iter = None  # the count is that of the next iteration already

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        super()._save_checkpoint_with_step(runner, step, meta)
        self.saved_iter = runner.iter
        self.file_backend.remove_old()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, float]) -> None:
        super()._save_best_checkpoint(runner, metrics)
        if self.save_best:
            self.file_backend.remove_old()

    def _mend_last_checkpoint(self, runner: Runner) -> None:
        last = find_latest_checkpoint(runner.work_dir)
        if last and is_whole(last):
            return
        folder = Path(runner.work_dir)
        if self.out_dir and self.out_dir != runner.work_dir:  # as stock derives it, later
            folder = Path(self.out_dir, folder.name)
        found = sorted(folder.glob(self.filename_tmpl.format('*')), key=_numbers, reverse=True)
        whole = next(filter(is_whole, found), None)
        if whole:
            runner.logger.warning(f'{last or "last_checkpoint"} is damaged or gone: {whole} is the newest whole one')
            AtomicBackend().put_text(str(whole), os.path.join(runner.work_dir, 'last_checkpoint'))
        elif found or last is not None:
            raise InputError(f'--resume: no checkpoint in {folder} is whole; start anew without --resume')


def is_whole(path: str | Path) -> bool:
    """Whether a checkpoint of PyTorch is all there: its checksums are right. It reads the file, and loads nothing."""
    try:
        with ZipFile(path) as file:
            return file.testzip() is None
    except (OSError, BadZipFile):
        return False


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r'\d+', path.name)]


@register_backend(BACKEND)
class AtomicBackend(LocalBackend):
    """Files that are there whole or not at all; one that is removed stays until :meth:`remove_old`."""

    def __init__(self) -> None:
        self.old: list[str] = []

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        """Write beside ``filepath``, then rename.

        Raises:
            InputError: it cannot be written; what was there stays as it was.
        """
        part = Path(f'{filepath}{PART}')
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open('wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            part.replace(filepath)
        except OSError as error:
            raise InputError(f'{filepath} cannot be written ({error.strerror}); make room, then --resume') from error
        finally:
            part.unlink(missing_ok=True)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        self.put(obj.encode(encoding), filepath)

    def remove(self, filepath: str | Path) -> None:
        self.old.append(filepath)

    def remove_old(self) -> None:
        while self.old:
            super().remove(self.old.pop())
