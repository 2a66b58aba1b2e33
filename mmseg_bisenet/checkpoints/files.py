"""Checkpoint files: read as data and never as code, written whole or not at all.

A file is safetensors where its name ends in ``.safetensors``, and PyTorch's otherwise.
"""

import json
import os
import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mmseg_bisenet import compat
from mmseg_bisenet.errors import InputError

SAFETENSORS = '.safetensors'
# What the state dict is called inside a training checkpoint: by OpenMMLab, by TorchSeg.
WRAPPERS = ('state_dict', 'model')


@dataclass(frozen=True)
class Checkpoint:
    """``state_dict`` has no prefix of a wrapper such as ``module.``; ``meta`` is empty where the file has none."""

    state_dict: dict[str, Tensor]
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def dataset_meta(self) -> dict[str, Any]:
        """Names (``classes``) and colours (``palette``) of the classes, or nothing."""
        if 'CLASSES' in self.meta:  # MMSegmentation 0.x
            return dict(classes=self.meta['CLASSES'], palette=self.meta.get('PALETTE'))
        return self.meta.get('dataset_meta') or {}


def read(path: str | Path) -> Checkpoint:
    """Read a checkpoint, alone or inside a training checkpoint, onto the CPU.

    Raises:
        InputError: no such file, a damaged one, one that holds more than data, or one without a state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f'checkpoint {path} does not exist; give the path of a .pth or {SAFETENSORS} file')
    if path.suffix == SAFETENSORS:
        return _read_safetensors(path)
    content = _read_pickle(path)
    meta = content.get('meta') if isinstance(content, dict) else None
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not (isinstance(content, dict) and content and all(isinstance(key, str) for key in content)):
        raise InputError(f'checkpoint {path} holds no state dict, neither itself nor under {" or ".join(WRAPPERS)}')
    others = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise InputError(f'checkpoint {path} holds no state dict: {some(others)} are no tensors')
    return Checkpoint(_without_prefix(content), meta if isinstance(meta, dict) else {})


def write(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, first beside ``path`` and then under its name.

    Raises:
        InputError: ``path`` is there already, or cannot be written.
    """
    path = Path(path)
    check_target(path)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        if path.suffix == SAFETENSORS:
            # It refuses tensors that share memory.
            tensors = {
                key: value.clone(memory_format=torch.contiguous_format) for key, value in checkpoint.state_dict.items()
            }
            # Palettes may be arrays.
            meta = json.dumps(checkpoint.meta, default=lambda value: value.tolist())
            partial.write_bytes(safetensors.torch.save(tensors, {'meta': meta}))
        else:
            torch.save({'meta': checkpoint.meta, 'state_dict': checkpoint.state_dict}, partial)
        partial.rename(path)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise InputError(f'{path} cannot be written ({_reason(error)})') from error
    finally:
        partial.unlink(missing_ok=True)


def check_target(path: Path) -> None:
    """Raises InputError where :func:`write` would refuse: before the work rather than after it."""
    if path.suffix not in ('.pth', SAFETENSORS):
        raise InputError(f'{path} has another ending than .pth and {SAFETENSORS}, which say what to write')
    if path.exists():
        raise InputError(f'{path} exists already; name a new file, or remove it')
    if not path.parent.is_dir():
        raise InputError(f'folder {path.parent} does not exist; make it first')


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, 'pt') as file:
            meta = json.loads((file.metadata() or {}).get('meta', '{}'))
            state_dict = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f'checkpoint {path} is damaged or no safetensors file ({_reason(error)})') from error
    return Checkpoint(_without_prefix(state_dict), meta if isinstance(meta, dict) else {})


def _read_pickle(path: Path) -> Any:
    try:
        with _training_globals():
            return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a damaged pickle raises anything
        forbidden = re.search(r'GLOBAL (\S+)', str(error))
        if forbidden:
            raise InputError(
                f'checkpoint {path} is refused: it names {forbidden[1]}, and only tensors, numbers and text are read; '
                'save its state dict alone'
            ) from error
        raise InputError(f'checkpoint {path} is damaged or no checkpoint ({_reason(error)})') from error


def _training_globals() -> AbstractContextManager:
    """Allow, for one file, what mmengine's training checkpoints hold besides tensors."""
    if torch.__version__ < '2.6':  # cannot allow functions; a `TorchVersion` compares as a version
        return nullcontext()
    allowed = torch.serialization.get_safe_globals()
    # What is allowed already is left out: leaving the context would forbid it for the whole process.
    return torch.serialization.safe_globals([item for item in compat.training_globals() if item not in allowed])


def _without_prefix(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """``module.`` is what DataParallel puts before every key."""
    prefix = 'module.' if all(key.startswith('module.') for key in state_dict) else ''
    return {key.removeprefix(prefix): value.detach() for key, value in state_dict.items()}


def _reason(error: Exception) -> str:
    """One sentence, without PyTorch's advice to load what is not safe."""
    text = re.sub(r'.*WeightsUnpickler error: ', '', str(error), flags=re.DOTALL).strip()
    return f'{type(error).__name__}: {text.splitlines()[0].split(". ")[0]}' if text else type(error).__name__


def some(names: list[str], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more


def listed(faults: dict[str, list[str]]) -> str:
    """Names by kind of fault on one line, such as ``2 missing: a, b; 1 unexpected: c``; empty where there is none."""
    return '; '.join(f'{len(names)} {kind}: {some(names)}' for kind, names in faults.items() if names)
