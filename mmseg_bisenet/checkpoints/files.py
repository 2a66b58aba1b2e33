"""Checkpoint files: read as data and never as code, checked whole, written whole or not at all.

A file whose name ends in ``.safetensors`` or Paddle's ``.pdparams`` is of that format; all others are PyTorch's.

Damage is found by checksums: PyTorch's zip files have one for each tensor, which ``torch.load`` does not check, and the
``.safetensors`` files that :func:`write` writes have one in their metadata. PyTorch's files from before 1.6, Paddle's,
and ``.safetensors`` files of others have none.
"""

import json
import os
import re
import zlib
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mmseg_bisenet import compat
from mmseg_bisenet.checkpoints import pdparams, sane
from mmseg_bisenet.errors import InputError, require_paths, short
from mmseg_bisenet.files import check_output, identities, replacing, require_writable
from mmseg_bisenet.palette import fault_of_names

SAFETENSORS = '.safetensors'
# The key of the state dict in a training checkpoint: OpenMMLab's, TorchSeg's.
WRAPPERS = ('state_dict', 'model')
META, CHECKSUM = 'meta', 'crc32'  # keys in the metadata of a .safetensors file, and in the object that META holds


@dataclass(frozen=True)
class Checkpoint:
    """``state_dict`` has no prefix of a wrapper such as ``module.``; ``meta`` is empty if the file has none.

    ``resumable`` is whether MMEngine can continue a training from the file.
    """

    state_dict: dict[str, Tensor]
    meta: dict[str, Any] = field(default_factory=dict)
    resumable: bool = False

    @property
    def dataset_meta(self) -> dict[str, Any]:
        """Names (``classes``) and colours (``palette``) of the classes; empty if the file has none."""
        if 'CLASSES' in self.meta:  # MMSegmentation 0.x
            return dict(classes=self.meta['CLASSES'], palette=self.meta.get('PALETTE'))
        return self.meta.get('dataset_meta') or {}


def read(path: str | Path) -> Checkpoint:
    """Read a state dict, alone or inside a training checkpoint, onto the CPU.

    Raises:
        InputError: the file does not exist, is damaged, contains more than data, has no state dict, or one with values
            that no network has, such as NaN.
    """
    require_paths(path=path)
    path = Path(path)
    require_file(path)
    checkpoint = _read(path)
    _require_sane(checkpoint, path)
    return checkpoint


def _require_sane(checkpoint: Checkpoint, path: Path) -> None:
    if not checkpoint.state_dict:
        raise InputError(f'checkpoint {path} has no weights; give another')
    if text := listed(sane.faults(checkpoint.state_dict)):
        raise InputError(f'checkpoint {path} has weights that no network can have: {text}; give others')
    if fault := fault_of_names(checkpoint.dataset_meta):
        raise InputError(f'checkpoint {path}: its meta {fault}; save it with other meta, or its state dict alone')


def require_file(path: str | Path) -> None:
    """Raises:
    InputError: there is no such checkpoint.
    """
    if not Path(path).is_file():
        state = 'is a folder' if Path(path).is_dir() else 'is no file' if os.path.lexists(path) else 'does not exist'
        raise InputError(f'checkpoint {path} {state}; give the path of a .pth or {SAFETENSORS} file')


def _read(path: Path) -> Checkpoint:
    if path.suffix == SAFETENSORS:
        return _read_safetensors(path)
    if path.suffix == pdparams.SUFFIX:
        return Checkpoint(pdparams.read(path))
    content = _read_pickle(path)
    meta = content.get('meta') if isinstance(content, dict) else None
    meta = meta if isinstance(meta, dict) else {}
    resumable = {'epoch', 'iter'} <= meta.keys() and isinstance(content.get('message_hub'), dict)
    resumable = resumable and 'optimizer' in content  # `save_optimizer=False` leaves it out
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not (isinstance(content, dict) and content and all(isinstance(key, str) for key in content)):
        raise InputError(
            f'checkpoint {path} holds no state dict, itself or under {" or ".join(WRAPPERS)}; give another file'
        )
    others = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise InputError(f'checkpoint {path} holds no state dict: {some(others)} are no tensors; give another file')
    return Checkpoint(_without_prefix(content), meta, resumable)


def require_names(checkpoint: Checkpoint, num_classes: int, path: str | Path) -> None:
    """Raises:
    InputError: the checkpoint names another number of classes than its network has.
    """
    names = checkpoint.dataset_meta.get('classes') or ()
    if len(names) not in (0, num_classes):
        raise InputError(
            f'checkpoint {path} has {num_classes} classes and names {len(names)}; correct its meta, or remove it'
        )


def write(path: str | Path, checkpoint: Checkpoint, overwrite: bool = False) -> None:
    """Write a checkpoint.

    Args:
        overwrite: whether it may replace a file.

    Raises:
        InputError: ``path`` exists already, or cannot be written; :func:`read` would refuse the file.
    """
    require_paths(path=path)
    if not isinstance(checkpoint, Checkpoint):
        raise InputError(f'checkpoint={short(repr(checkpoint))}: give a Checkpoint, as checkpoints.read returns it')
    path = Path(path)
    check_target(path, overwrite)
    pairs = checkpoint.state_dict.items()
    if others := [str(key) for key, value in pairs if not (isinstance(key, str) and isinstance(value, Tensor))]:
        raise InputError(f'checkpoint {path}: a state dict has names and tensors; remove {some(others)}')
    if not isinstance(checkpoint.meta, dict):
        raise InputError(f'checkpoint {path}: its meta is {type(checkpoint.meta).__name__}; give a dict')
    _require_sane(checkpoint, path)
    _require_data(checkpoint.meta, path)
    if path.suffix == SAFETENSORS:
        # It refuses tensors that share memory.
        tensors = {
            key: value.clone(memory_format=torch.contiguous_format) for key, value in checkpoint.state_dict.items()
        }
        # Palettes may be arrays.
        meta = json.dumps(json.loads(json.dumps(checkpoint.meta, default=lambda value: value.tolist())))
        checked = json.dumps(json.loads(meta) | {CHECKSUM: _checksum(meta, tensors)})
        # One text: safetensors writes several in random order.
        content = safetensors.torch.save(tensors, {META: checked})
    else:
        buffer = BytesIO()  # if PyTorch writes to a full disk, its error has no reason
        torch.save({'meta': checkpoint.meta, 'state_dict': checkpoint.state_dict}, buffer)
        content = buffer.getvalue()
    with replacing(path, overwrite) as partial:
        partial.write_bytes(content)


def _require_data(meta: dict, path: Path) -> None:
    """Refuse meta with anything that is not read again, such as a path."""
    buffer = BytesIO()
    try:
        if path.suffix == SAFETENSORS:
            json.dumps(meta, default=lambda value: value.tolist())
        else:
            torch.save(meta, buffer)
            buffer.seek(0)
            with _training_globals():
                torch.load(buffer, weights_only=True)
    except Exception as error:  # pickling raises anything
        forbidden = re.search(r'GLOBAL (\S+)', str(error))
        reason = f'it names {forbidden[1]}' if forbidden else _reason(error)
        raise InputError(
            f'checkpoint {path}: its meta could not be read again ({reason}); give tensors, numbers and text'
        ) from error


def load_from_safetensors(filename: str, map_location: str | torch.device | None) -> dict:
    """As MMEngine's loaders: it reads such paths with this one (``mmseg_bisenet/__init__.py``)."""
    checkpoint = read(filename)
    return dict(state_dict=checkpoint.state_dict, meta=checkpoint.meta)


def check_target(path: Path, overwrite: bool = False, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse a path that :func:`write` would refuse. For use before the work.

    Raises:
        InputError: the path exists already, is one of ``inputs``, or has an unknown suffix; or its folder cannot be
            written.
    """
    if path.suffix not in ('.pth', SAFETENSORS):
        raise InputError(f'{path} ends in neither .pth nor {SAFETENSORS}; name a file of one of these formats')
    check_output(path, overwrite, inputs=identities(inputs))
    require_writable('folder', path.parent)


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, 'pt') as file:
            texts = file.metadata() or {}
            state_dict = {key: file.get_tensor(key) for key in file.keys()}
        meta: dict = {}
        if [*map(len, texts)] == [len(META)] and next(iter(texts.values())).startswith('{'):  # from `write`
            meta = json.loads(texts.get(META, '{}'))
            if meta.pop(CHECKSUM, '') != _checksum(json.dumps(meta), state_dict):
                raise ValueError('wrong checksum')
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f'checkpoint {path} is damaged or no safetensors file ({_reason(error)}); get it again'
        ) from error
    return Checkpoint(_without_prefix(state_dict), meta)


def _checksum(meta: str, tensors: dict[str, Tensor]) -> str:
    """Of names, types, shapes and values of the tensors, and of the text of the metadata."""
    value = zlib.crc32(meta.encode())
    for key, tensor in sorted(tensors.items()):
        value = zlib.crc32(f'{key} {tensor.dtype} {tuple(tensor.shape)}'.encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return f'{value:08x}'


def wrong_part(path: str | Path) -> str | None:
    """The first part of a PyTorch file, from 1.6 on, whose checksum is wrong. Nothing in it is loaded."""
    with ZipFile(path) as file:
        return file.testzip()


def _read_pickle(path: Path) -> Any:
    try:
        if is_zipfile(path) and (damaged := wrong_part(path)):
            raise ValueError(f'wrong checksum of {damaged}')
        with _training_globals():
            return torch.load(path, map_location='cpu', weights_only=True)
    except PermissionError as error:
        raise InputError(f'checkpoint {path} cannot be read: no permission; change its mode, or copy it') from error
    except Exception as error:  # a damaged pickle raises anything
        forbidden = re.search(r'GLOBAL (\S+)', str(error))
        if forbidden:
            raise InputError(
                f'checkpoint {path} is refused: it names {forbidden[1]}, and only tensors, numbers and text are read; '
                'save its state dict alone'
            ) from error
        if other := _other_format(path):
            raise InputError(f'checkpoint {path} is {other}') from error
        raise InputError(f'checkpoint {path} is damaged or no checkpoint ({_reason(error)}); get it again') from error


def _other_format(path: Path) -> str | None:
    """What a file is that is no checkpoint of PyTorch, with the fix."""
    try:
        with path.open('rb') as file:
            start = file.read(9)
    except OSError:
        return None
    if start.startswith((b'\x89PNG', b'\xff\xd8')):
        return 'an image; give a .pth or .safetensors file'
    if path.suffix not in ('', '.pth', '.pt', '.ckpt', '.bin', '.pkl', '.tar') and not start.startswith(b'PK'):
        return f'of another format ({path.suffix}); give a .pth or {SAFETENSORS} file'
    if start[8:] == b'{':
        return f'a safetensors file; rename it to {path.stem}{SAFETENSORS}'
    return None


def _training_globals() -> AbstractContextManager:
    """Allow what mmengine's training checkpoints contain besides tensors, until the context ends."""
    if torch.__version__ < '2.6':  # it cannot allow functions; a `TorchVersion` compares as a version
        return nullcontext()
    allowed = torch.serialization.get_safe_globals()
    # Leaving the context forbids all of these for the whole process, so those that are allowed already are left out.
    return torch.serialization.safe_globals([item for item in compat.training_globals() if item not in allowed])


def _without_prefix(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove ``module.``, which DataParallel puts before every key."""
    prefix = 'module.' if all(key.startswith('module.') for key in state_dict) else ''
    return {key.removeprefix(prefix): value.detach() for key, value in state_dict.items()}


def _reason(error: Exception) -> str:
    """One sentence, without PyTorch's advice to load unsafe files."""
    text = re.sub(r'.*WeightsUnpickler error: ', '', str(error), flags=re.DOTALL).strip()
    return f'{type(error).__name__}: {text.splitlines()[0].split(". ")[0]}' if text else type(error).__name__


def some(names: list[str], most: int = 5) -> str:
    """The first few names, each shortened, and how many more there are."""
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(map(short, names[:most])) + more


def listed(faults: dict[str, list[str]]) -> str:
    """Names by kind of fault in one line, such as ``2 missing: a, b; 1 unexpected: c``; empty if there is no fault."""
    return '; '.join(f'{len(names)} {kind}: {some(names)}' for kind, names in faults.items() if names)
