"""Start MMEngine's Runner with what is built and checked already, and several processes without a GPU."""

import copy
import errno
import inspect
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.dist import is_main_process
from mmengine.registry import MODELS, VISUALIZERS, DefaultScope
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmseg.datasets import BaseSegDataset
from torch import Tensor, nn

from mmseg_bisenet.cli.preflight import DataSets, replace_leaves
from mmseg_bisenet.cli.runner import DATALOADERS, CheckedRunner
from mmseg_bisenet.config.errors import as_written, explained, running
from mmseg_bisenet.config.rules import class_of
from mmseg_bisenet.engine.named_pictures import NamedVisualizationHook
from mmseg_bisenet.engine.vis_backend import AnyNameVisBackend
from mmseg_bisenet.errors import InputError

FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG


def launch(cfg: Config, launcher: str) -> None:
    """Set the launcher. Without a GPU, connect the processes over gloo.

    MMEngine's own start-up sets a CUDA device for each process.
    """
    cfg.launcher = launcher
    if launcher == 'none' or torch.cuda.is_available():
        return
    torch.distributed.init_process_group('gloo')
    wrapper = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = {**wrapper, **(cfg.get('model_wrapper_cfg') or {}), 'device_ids': None}
    if torch.distributed.get_rank() == 0:
        warnings.warn(
            'no GPU: SyncBN is replaced by BN, so that each process normalises with its own images', stacklevel=1
        )


def leave() -> None:
    """Let all processes end together: gloo aborts one that ends early, and the launcher would then end the others."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def build_runner(
    cfg: Config, datasets: DataSets, model: nn.Module | None = None, start: dict[str, Tensor] | None = None
) -> Runner:
    """What ``Runner.from_cfg`` builds, with data sets and a model that exist already.

    Args:
        cfg: the config; the Runner logs it and writes it to the work dir.
        datasets: from :func:`mmseg_bisenet.cli.preflight.check_data`.
        model: with its weights loaded; by default the Runner builds that of the config.
        start: what ``cfg.load_from`` holds, from :func:`mmseg_bisenet.cli.start_from.read_load_from`.
    """
    given = {name: copy.deepcopy(cfg[name]) for name in inspect.signature(Runner).parameters if name in cfg}
    given['cfg'] = cfg
    visualizer = given.get('visualizer') or {}
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmseg')):
        # MMEngine would take the visualizer of an earlier run of this process, with the folder of that run.
        if kind := class_of(visualizer, VISUALIZERS):
            getattr(kind, '_instance_dict', {}).pop(visualizer.get('name'), None)
    for backend in visualizer.get('vis_backends') or ():
        if backend.get('type') == 'LocalVisBackend':
            backend['type'] = AnyNameVisBackend
    drawing = (given.get('default_hooks') or {}).get('visualization') or {}
    if drawing.get('type') == 'SegVisualizationHook':
        drawing['type'] = NamedVisualizationHook
    if model is not None:
        given['model'] = _with_views(cfg, model)
    for name in DATALOADERS:
        if given.get(name):
            given[name]['dataset'] = with_built(cfg, f'{name}.dataset', datasets)
    with explained('the Runner cannot be built', 'fix the config, or --cfg-options'), full_disk(cfg.work_dir):
        runner = CheckedRunner(**given)
    runner.start = start
    return runner


def note_nothing_left(runner: 'CheckedRunner') -> None:
    """Say after a training that its checkpoint was at the end already, so that ``--resume`` had nothing to do."""
    if runner.resumed is None or runner.iter != runner.resumed[1] or not is_main_process():
        return
    name, done = runner.resumed
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        text = f'{runner.epoch} of {runner.max_epochs} epochs'
    else:
        text = f'{done} of {runner.max_iters} iterations'
    print(f'note: {name} has {text}; nothing was trained', file=sys.stderr)


class Pipeline(Compose):
    """As stock, but an error names the step and the image."""

    def __init__(self, transforms: Sequence[dict], key: str) -> None:
        super().__init__(transforms)
        self.key = key

    def __call__(self, data: dict) -> dict | None:
        path = data.get('img_path')
        result: dict | None = data
        for number, transform in enumerate(self.transforms):
            with running(f'{self.key}.{number}', transform, path):
                result = transform(result)
            if result is None:  # the data set takes another sample
                break
        return result


@contextmanager
def full_disk(work_dir: str) -> Iterator[None]:
    """Name what could not be written: MMEngine's logs and pictures raise errors without a file name.

    Raises:
        InputError: a disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise InputError(
            f'{error.filename or work_dir} cannot be written ({error.strerror}); make room there and in /dev/shm, or '
            'name another --work-dir'
        ) from error


def with_built(cfg: Config, key: str, datasets: DataSets) -> dict:
    """The cfg of a data set, changed so that a registry takes what is built already, and gives it its pipeline.

    Args:
        cfg: the config.
        key: of the data set in it, which may be in wrappers such as ConcatDataset.
        datasets: from :func:`mmseg_bisenet.cli.preflight.check_data`. Others stay as they are.
    """

    def replace(key: str, leaf: dict) -> dict:
        if key not in datasets:
            return leaf

        def construct() -> BaseSegDataset:
            steps = leaf.get('pipeline', [])
            datasets[key].pipeline = Pipeline(steps, as_written(cfg, f'{key}.pipeline'))
            return datasets[key]

        scope = {'_scope_': leaf['_scope_']} if '_scope_' in leaf else {}
        return dict(scope, type=construct)

    return replace_leaves(copy.deepcopy(cfg[key.partition('.')[0]].dataset), key, replace)


def _with_views(cfg: Config, model: nn.Module) -> nn.Module:
    """The model inside the wrapper for test-time augmentation, if the config has one around it."""
    if 'module' not in cfg.model:
        return model
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmseg')):
        return MODELS.build({**cfg.model, 'module': model})
