"""MMEngine's Runner, for CPUs too, for weights that are read already, and with errors that name what is wrong."""

import functools
import os
from collections.abc import Callable, Sized
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper, revert_sync_batchnorm
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmseg_bisenet.checkpoints.files import listed
from mmseg_bisenet.checkpoints.fit import completed, require_channels, require_outputs, require_pretrained
from mmseg_bisenet.cli.resume import check_resumed, check_state
from mmseg_bisenet.config.errors import building, frames, path_of_type, running
from mmseg_bisenet.engine.train_loop import share_buffers
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import write_text
from mmseg_bisenet.models.conv import needs_two_images

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


def require_batches(loader: DataLoader, model: nn.Module) -> None:
    """What each epoch of a training needs.

    Raises:
        InputError: it has no batch, or ends with one of one image, on which the network's batch norm cannot be trained.
    """
    images: Any = loader.dataset
    if not len(loader):
        raise InputError(
            f'train_dataloader gives no batch: it has {len(images)} images, a batch_size of '
            f'{loader.batch_size}, and drop_last; lower batch_size, or set drop_last=False'
        )
    size, count = loader.batch_size or 1, len(loader.sampler) if isinstance(loader.sampler, Sized) else 0
    if size == 1 or loader.drop_last or count % size != 1:
        return
    if any(needs_two_images(getattr(module, 'pooled_norm', None)) for module in model.modules()):
        raise InputError(
            f'train_dataloader ends each epoch with a batch of one image, {count} in batches of {size}, and batch norm '
            'after a global pool needs two; set train_dataloader.drop_last=True, or another batch_size'
        )


class CheckedRunner(Runner):
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

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        built = super().build_train_loop(loop)
        if isinstance(built, EpochBasedTrainLoop):
            require_batches(built.dataloader, self.model)
        return built

    @property
    def iter(self) -> int:
        """As stock, but a test that numbers its pictures does not build the training loop with its data sets."""
        return super().iter if isinstance(self._train_loop, BaseLoop) else 0

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        if fn_name == 'before_val' and isinstance(self._train_loop, EpochBasedTrainLoop):  # stock's; ours does it
            share_buffers(self.model)
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
            if self._resume and self.resumed is None:
                self.logger.warning(
                    f'--resume found no checkpoint in {self.work_dir}: the training starts from scratch'
                )

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

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Raises:
        InputError: the checkpoint is damaged, of another network or schedule, or without the state of a training.
        """
        check_resumed(filename, self.model)
        super().resume(filename, *args, **kwargs)
        self.resumed = Path(filename).name, self.iter

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> dict:
        checkpoint = super().load_checkpoint(filename, *args, **kwargs)
        if self._resume:
            check_state(filename, checkpoint, self)
        return checkpoint


def _naming(key: str, build: Callable) -> Callable:
    """A method of the Runner that builds something; its error names the key of the config."""

    @functools.wraps(build)
    def method(self: CheckedRunner, *args: Any, **kwargs: Any) -> Any:
        with building(key, self.cfg):
            return build(self, *args, **kwargs)

    return method


def _build_dataloader(self: CheckedRunner, dataloader: dict, *args: Any, **kwargs: Any) -> Any:
    own = [name for name in DATALOADERS if getattr(self, f'_{name}') is dataloader]
    with building(own[0] if own else 'a dataloader', self.cfg):
        return Runner.build_dataloader(dataloader, *args, **kwargs)


for _name, _key in BUILDS.items():
    setattr(CheckedRunner, _name, _naming(_key, getattr(CheckedRunner, _name)))
setattr(CheckedRunner, 'build_dataloader', _build_dataloader)  # noqa: B010  static in stock
