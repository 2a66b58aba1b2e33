"""MMEngine's ``CheckpointHook``. A training that is interrupted at any moment keeps a whole checkpoint.

Deviations from stock:

- A checkpoint is written under a temporary name, flushed to the disk and renamed. Stock writes it in place.
- A checkpoint that is no longer needed (the oldest one, or the previous best) is removed after the new one is written.
  Stock removes it before.
- ``--resume`` continues from the newest whole checkpoint if the one that ``last_checkpoint`` names is damaged or
  missing, or if ``last_checkpoint`` itself is. Stock writes that file in place, and so do we, because it can be
  restored.
- ``--resume`` in a work dir that was copied or moved takes the checkpoint there. ``last_checkpoint`` has the path of
  the original, which stock follows.
- If an evaluation follows a checkpoint, the checkpoint is written again with the scores. Stock does so only for a new
  best. A run that ends before that evaluates first when it is resumed (:mod:`mmseg_bisenet.engine.train_loop`).
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from zipfile import BadZipFile

from mmengine import dist
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner, find_latest_checkpoint

from mmseg_bisenet.checkpoints.files import wrong_part
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import remove_leftovers, replacing
from mmseg_bisenet.locks import lock
from mmseg_bisenet.registry import HOOKS

if TYPE_CHECKING:
    from filelock import BaseFileLock

BACKEND = 'mmseg_bisenet.atomic'


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """The stock hook with the stock arguments. It writes to local folders only.

    Raises:
        InputError: ``backend_args`` or ``out_dir`` names other storage; a checkpoint cannot be written; the run to
            resume has no whole checkpoint.
    """

    backend_args: dict | None
    saved_iter: int | None = None
    lock: 'BaseFileLock | None' = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.backend_args or self.file_client_args or '://' in str(self.out_dir):
            raise InputError('default_hooks.checkpoint: AtomicCheckpointHook writes to folders; use CheckpointHook')
        self.backend_args = dict(backend=BACKEND)

    def before_run(self, runner: Runner) -> None:
        """Make sure that ``last_checkpoint``, which MMEngine reads next, names a whole checkpoint of this work dir."""
        require_utf8('work_dir', runner.work_dir)
        if self.out_dir:
            require_utf8('default_hooks.checkpoint.out_dir', self.out_dir)
        if runner._resume and runner._load_from is None:
            if dist.is_main_process():
                self._fix_last_checkpoint(runner)
            dist.barrier()
            last = find_latest_checkpoint(runner.work_dir)
            names = dist.all_gather_object(Path(last).name if last and Path(last).is_file() else None)
            if len(set(names)) > 1:
                raise InputError(
                    f'--resume: processes see different checkpoints ({", ".join(map(str, names))}); share '
                    f'{runner.work_dir} among the machines, or copy it from the first'
                )

    def before_train(self, runner: Runner) -> None:
        """Lock the work dir, and remove the temporary files of a run that was killed while it wrote."""
        super().before_train(runner)
        if dist.is_main_process():
            self.lock = lock(runner.work_dir, 'train')
            remove_leftovers(self.out_dir, '*.pth')

    def after_run(self, runner: Runner) -> None:
        if self.lock:
            self.lock.release()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint['meta']['batch_size'] = _batch_size(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        before = checkpoint.get('meta', {}).get('batch_size')
        if runner._resume and before and before != (now := _batch_size(runner)):
            runner.logger.warning(
                f'--resume: the checkpoint is of {before} images an iteration, and this run of {now}; iterations times '
                'images is the position in the data, so some are seen again or left out'
            )

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Save the best checkpoint, and write the scores into the checkpoint of this iteration if there is one.

        ``runner.iter`` has gone up by one since that checkpoint was saved.
        """
        super().after_val_epoch(runner, metrics)
        if self.saved_iter == runner.iter - 1:
            self._save_checkpoint_with_step(runner, runner.iter, dict(epoch=runner.epoch, iter=runner.iter))
            self.saved_iter = None  # the call above set it to `runner.iter`, the next iteration

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        super()._save_checkpoint_with_step(runner, step, meta)
        self.saved_iter = runner.iter
        self.file_backend.remove_old()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, float]) -> None:
        super()._save_best_checkpoint(runner, metrics)
        if self.save_best:
            self.file_backend.remove_old()

    def _fix_last_checkpoint(self, runner: Runner) -> None:
        named, folders = _named(runner.work_dir), [Path(runner.work_dir)]
        if self.out_dir and self.out_dir != runner.work_dir:  # stock derives the same folder, but later
            folders.insert(0, Path(self.out_dir, folders[0].name))
        found = sorted(folders[0].glob(self.filename_tmpl.format('*')), key=_numbers, reverse=True)
        if named is None and not found:  # a new training
            return
        whole = next(filter(is_whole, [*([_here(named, folders)] if named else []), *found]), None)
        if whole is None:
            raise InputError(
                f'--resume: no checkpoint in {folders[0]} is whole, and last_checkpoint names {named or "none"}; start '
                'again without --resume, in another --work-dir'
            )
        if str(whole) != named:
            runner.logger.warning(
                f'{named or "last_checkpoint"} is damaged, missing or of another work dir: resuming from {whole}'
            )
            pointer = Path(runner.work_dir, 'last_checkpoint')
            if pointer.is_fifo():  # no pipe is replaced by a file, but this name is ours
                pointer.unlink()
            AtomicBackend().put_text(str(whole), str(pointer))
        for path in found:
            if _numbers(path) > _numbers(Path(whole)) and path.is_file() and not is_whole(path):  # it may be anything
                runner.logger.warning(f'{path} is no whole checkpoint; it is kept as {path.name}.damaged')
                path.replace(f'{path}.damaged')


def require_utf8(option: str, folder: str | Path) -> None:
    """Refuse a folder whose path the text ``last_checkpoint`` cannot hold. For use before the training.

    Raises:
        InputError: the path has bytes that are not UTF-8.
    """
    try:
        os.path.abspath(folder).encode()
    except UnicodeEncodeError as error:
        raise InputError(f'{option} {folder}: its path is not UTF-8, as last_checkpoint is; name another') from error


def _named(work_dir: str) -> str | None:
    """What ``last_checkpoint`` names; empty if it is damaged or no file, and None if there is none."""
    path = Path(work_dir, 'last_checkpoint')
    if path.exists() and not path.is_file():
        return ''
    try:
        return find_latest_checkpoint(work_dir)
    except UnicodeDecodeError:
        return ''


def _here(named: str, folders: Sequence[Path]) -> Path:
    """The path itself, or the same name in the first of ``folders`` if it lies in none of them."""
    path = Path(named)
    own = os.path.realpath(path.parent) in map(os.path.realpath, folders)
    return path if own else folders[0] / path.name


def _batch_size(runner: Runner) -> int:
    """Images an iteration, of all processes."""
    return (runner.train_dataloader.batch_size or 0) * runner.world_size


def is_whole(path: str | Path) -> bool:
    """Check the checksums of a PyTorch checkpoint. The file is read, but nothing in it is loaded."""
    if not Path(path).is_file():  # a pipe would be waited for
        return False
    try:
        return wrong_part(path) is None
    except (OSError, BadZipFile):
        return False


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r'\d+', path.name)]


@register_backend(BACKEND)
class AtomicBackend(LocalBackend):
    """Local files that are written whole or not at all. :meth:`remove` only notes a file for :meth:`remove_old`."""

    def __init__(self) -> None:
        self.old: list[str | Path] = []

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        """Write a file, replacing an earlier one.

        Raises:
            InputError: the system refuses to write. An earlier file stays as it was.
        """
        try:
            with replacing(filepath, overwrite=True) as partial:
                partial.write_bytes(obj)
        except InputError as error:
            if error.__cause__ is None:
                raise
            reason = cast(OSError, error.__cause__).strerror
            raise InputError(f'{filepath} cannot be written ({reason}); make room, then --resume') from error

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        self.put(obj.encode(encoding), filepath)

    def remove(self, filepath: str | Path) -> None:
        self.old.append(filepath)

    def remove_old(self) -> None:
        while self.old:
            super().remove(self.old.pop())
