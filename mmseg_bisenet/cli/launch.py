"""Start MMEngine's Runner with what is built and checked already, and several processes without a GPU."""

import copy
import errno
import functools
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper, revert_sync_batchnorm
from mmengine.registry import MODELS, VISUALIZERS, DefaultScope
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from mmseg.datasets import BaseSegDataset
from torch import Tensor, nn

from mmseg_bisenet.checkpoints.files import listed
from mmseg_bisenet.checkpoints.fit import completed, require_channels, require_outputs, require_pretrained
from mmseg_bisenet.cli.preflight import DataSets, check_resumed, replace_leaves
from mmseg_bisenet.config_errors import as_written, building, explained, frames, path_of_type, running
from mmseg_bisenet.config_rules import class_of
from mmseg_bisenet.engine.named_pictures import NamedVisualizationHook
from mmseg_bisenet.engine.vis_backend import AnyNameVisBackend
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import write_text

FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG
DATALOADERS = 'train_dataloader', 'val_dataloader', 'test_dataloader'
STARTS = 'before_run', 'before_train', 'before_val', 'before_test'  # here hooks find that an argument is wrong
# What the Runner builds when it starts, from which keys.
BUILDS = dict(
    build_optim_wrapper='optim_wrapper',
    build_param_scheduler='param_scheduler',
    build_train_loop='train_cfg',
    build_val_loop='val_cfg',
    build_test_loop='test_cfg',
    build_evaluator='val_evaluator or test_evaluator',
    build_visualizer='visualizer',
    build_log_processor='log_processor',
    register_hooks='default_hooks or custom_hooks',
    scale_lr='auto_scale_lr',
    _init_model_weights='an init_cfg of the model',
)


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
        runner = _Runner(**given)
    runner.start = start
    return runner


def note_nothing_left(runner: '_Runner') -> None:
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


class _Runner(Runner):
    """MMEngine's Runner, for CPUs too, and for weights that are read already."""

    start: dict[str, Tensor] | None = None
    resumed: tuple[str, int] | None = None  # the checkpoint, and its iterations

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        self._model_is_loaded = isinstance(model, nn.Module)
        with building('model', self.cfg):
            built = super().build_model(model)
            require_outputs(built)
            if not self._model_is_loaded:
                require_channels(built)
        # SyncBN exists on GPUs only.
        return built if torch.cuda.is_available() else revert_sync_batchnorm(built)

    @property
    def iter(self) -> int:
        """As stock, but a test that numbers its pictures does not build the training loop with its data sets."""
        return super().iter if isinstance(self._train_loop, BaseLoop) else 0

    def call_hook(self, fn_name: str, **kwargs) -> None:
        try:
            super().call_hook(fn_name, **kwargs)
        except (InputError, OSError, MemoryError, ImportError):
            raise
        except Exception as error:
            hook = next((own for one in frames(error) if isinstance(own := one.f_locals.get('self'), Hook)), None)
            if fn_name not in STARTS or hook is None:
                raise
            with running(path_of_type(self.cfg, type(hook).__name__, 'default_hooks', 'custom_hooks'), hook):
                raise

    def _init_model_weights(self) -> None:
        require_pretrained(self.model.module if is_model_wrapper(self.model) else self.model)
        super()._init_model_weights()

    def load_or_resume(self) -> None:
        if self.start is not None and not self._has_loaded:
            self._start_from(self.start)
        elif not self._model_is_loaded:
            super().load_or_resume()

    def _start_from(self, given: dict[str, Tensor]) -> None:
        """As stock loads ``load_from``, but one line says what starts anew, instead of one with every key."""
        model = self.model.module if is_model_wrapper(self.model) else self.model
        state_dict, anew = completed(given, model.state_dict())
        self.call_hook('after_load_checkpoint', checkpoint=dict(state_dict=state_dict))
        model.load_state_dict(state_dict)
        kept = sum(map(len, anew.values()))
        starts = f'; {kept} start anew ({listed(anew)})' if kept else ''
        self.logger.info(f'{len(state_dict) - kept} tensors are taken from {self._load_from}{starts}')
        self.start, self._has_loaded = None, True

    @master_only
    def dump_config(self) -> None:
        """As stock, but a file of that name stays: the work dir may be the folder of the user's config."""
        name = Path(self.cfg.filename or 'config.py').name
        path = Path(self.work_dir, name)
        if os.path.lexists(path):
            path = Path(self._log_dir, name)
        write_text(path, self.cfg.dump(), overwrite=True)

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Raises:
        InputError: the checkpoint is damaged, of another network, or without the state of a training.
        """
        check_resumed(filename, self.model)
        super().resume(filename, *args, **kwargs)
        self.resumed = Path(filename).name, self.iter


def _naming(key: str, build: Callable) -> Callable:
    """A method of the Runner that builds something; its error names the key of the config."""

    @functools.wraps(build)
    def method(self: _Runner, *args, **kwargs) -> Any:
        with building(key, self.cfg):
            return build(self, *args, **kwargs)

    return method


def _build_dataloader(self: _Runner, dataloader: dict, *args, **kwargs) -> Any:
    own = [name for name in DATALOADERS if getattr(self, f'_{name}') is dataloader]
    with building(own[0] if own else 'a dataloader', self.cfg):
        return Runner.build_dataloader(dataloader, *args, **kwargs)


for _name, _key in BUILDS.items():
    setattr(_Runner, _name, _naming(_key, getattr(_Runner, _name)))
setattr(_Runner, 'build_dataloader', _build_dataloader)  # noqa: B010  static in stock


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
