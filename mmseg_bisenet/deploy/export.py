"""A segmentor as one file for another runtime, verified against PyTorch before it is called done.

Every format starts from a graph of ``torch.export``; how it is written from there stands with its runtime, in
:mod:`mmseg_bisenet.deploy.backends`. A file is written and verified in a folder of its own, and moved when it passes.
"""

import copy
import importlib.metadata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from mmseg_bisenet import __version__
from mmseg_bisenet.deploy import quantize, verify
from mmseg_bisenet.deploy.backends import FORMATS, Exported, FileBackend
from mmseg_bisenet.deploy.backends.base import LARGEST, SMALLEST
from mmseg_bisenet.deploy.graph import Graph
from mmseg_bisenet.deploy.metadata import FORMAT_VERSION, UNSEALED, seal
from mmseg_bisenet.deploy.network import DTYPES, DeployNetwork, describe
from mmseg_bisenet.deploy.precision import tf32
from mmseg_bisenet.deploy.quiet import quiet
from mmseg_bisenet.errors import InputError, require_flags, require_paths, require_texts
from mmseg_bisenet.files import check_output, identities, move_all, scratch
from mmseg_bisenet.models import BiSeNetSegmentor
from mmseg_bisenet.sizes import check_pixels, height_and_width
from mmseg_bisenet.surroundings import own_settings


@own_settings()
def export(
    segmentor: BiSeNetSegmentor,
    format: str,
    precision: str,
    shape: Sequence[int],
    output: str | Path,
    *,
    dynamic: bool = False,
    output_kind: str | None = None,
    calibration: Iterable[np.ndarray] = (),
    keep_float: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Write ``<config>_<precision>_<H>x<W>`` with the suffix of the format into a folder.

    The file takes ``images``, (N, H, W, 3) uint8 BGR, and gives ``labels`` (N, H, W) uint8, or ``logits``
    (N, num_classes, ceil(H / 8), ceil(W / 8)). :func:`~.metadata.read_metadata` reads what it says about itself. The
    share of labels that equal PyTorch's is logged.

    Args:
        segmentor: for example from :func:`mmseg_bisenet.get_model`; it is left as it is.
        format: a name in :data:`~.backends.FORMATS`. The file of ``pt2`` runs on the segmentor's device.
        precision: ``fp32``, ``bf16``, ``fp16`` or ``int8``, if the format has it.
        shape: height and width of the images.
        output: the folder, which is made if it does not exist.
        dynamic: whether N, H and W are free; otherwise N is 1.
        output_kind: ``labels`` or ``logits``; by default labels if the format has them.
        calibration: images (H, W, 3) uint8 BGR of that shape, for int8 only.
        keep_float: modules that stay float, for int8 only.
        overwrite: whether an earlier file of that name may be replaced.

    Raises:
        InputError: what this machine, the format or the network cannot do, too few images, a folder that cannot be
            written, a file of that name, or a file that does not compute what PyTorch does, which is removed.
    """
    require_flags(dynamic=dynamic, overwrite=overwrite)
    require_texts(format=format, precision=precision, output_kind=output_kind)
    require_paths(output=output)
    backend, output_kind = _checked(segmentor, format, precision, dynamic, output_kind)
    shape = checked_shape(shape)
    own = next(segmentor.parameters()).device
    device = own if backend.traced_on_device else torch.device(backend.devices[0])
    quantize.require_int8(precision, calibration, keep_float)
    if keep_float and not backend.keeps_float:
        raise InputError(
            f'format {format} has all convolutions in int8; leave --keep-float out, or take another format'
        )
    backend.require_build(precision, device)
    images = quantize.checked(calibration, shape) if precision == 'int8' else []
    target = checked_target(output, _config_name(segmentor), backend, precision, shape, overwrite)
    with scratch(target) as folder:
        exported, network = write(
            backend,
            segmentor,
            precision,
            shape,
            folder,
            device,
            dynamic=dynamic,
            output_kind=output_kind,
            images=images,
            keep_float=keep_float,
            references=True,
        )
        fix = 'take another precision or format, and report it'
        if precision == 'int8':
            fix = ('name layers with --keep-float, or ' if backend.keeps_float else '') + 'calibrate with other images'
        with quiet():
            run = backend.run_plainly(exported, device)
        batches = verify.batches(images, shape, dynamic)
        verify.require(run, network, batches, exported.metadata, exported.path.name, f'it was removed; {fix}')
        del run  # Windows cannot move a file that a runtime has mapped into memory
        move_all(folder, target, overwrite)
    return target


def write(
    backend: FileBackend,
    segmentor: BiSeNetSegmentor,
    precision: str,
    shape: tuple[int, int],
    folder: str | Path,
    device: torch.device,
    *,
    dynamic: bool = False,
    output_kind: str = 'logits',
    images: Sequence[np.ndarray] = (),
    keep_float: Sequence[str] = (),
    references: bool = False,
) -> tuple[Exported, DeployNetwork]:
    """Write a file, and return it with the network in float32, for verification.

    Args:
        device: that the file will run on.
        images: to calibrate int8, as :func:`~.quantize.checked` returns them.
        references: store two images with their labels (:mod:`~.references`).
        others: as in :func:`export`.
    """
    metadata = _describe(segmentor, backend, precision, shape, dynamic, output_kind)
    path = Path(folder, _file_name(metadata['config'], backend, precision, shape))
    with quiet(), torch.no_grad(), tf32(False):
        network = DeployNetwork(segmentor).to(device if backend.traced_on_device else 'cpu')
        dtype = DTYPES[backend.graph_precision(precision)]
        written = network if dtype == network.dtype else copy.deepcopy(network).to(dtype)
        # The convolutions that read the image: little of the work, and most of the accuracy that int8 would cost.
        first = [name for name, part in network.named_modules() if getattr(part, 'in_channels', None) == 4]
        graph = Graph(written, output_kind == 'labels', backend.cast_by_float)
        if references:
            metadata['references'] = verify.references(network, images, shape, precision)
        metadata['checksum'] = UNSEALED
        backend.write(path, graph, metadata, images, [*keep_float, *first])
        seal(backend, path)
        del metadata['checksum']
        metadata.pop('references', None)
    return Exported(backend, path, metadata), network


# -- before ------------------------------------------------------------------------------------------------------------


def checked_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Height and width.

    Raises:
        InputError: the network cannot be traced with them.
    """
    height, width = height_and_width(shape)
    if not (SMALLEST <= height <= LARGEST and SMALLEST <= width <= LARGEST):
        raise InputError(f'shape {height} {width}: give height and width, each from {SMALLEST} to {LARGEST} pixels')
    check_pixels('shape', width, height)
    return height, width


def checked_target(
    output: str | Path,
    config: str,
    backend: FileBackend,
    precision: str,
    shape: Sequence[int],
    overwrite: bool,
    inputs: Iterable[str | Path] = (),
) -> Path:
    """The path of the file for a config of that name.

    Raises:
        InputError: it must not be written, or is one of the inputs.
    """
    read = identities(inputs)
    target = Path(output, _file_name(config, backend, precision, shape))
    for part in backend.parts(target):
        check_output(part, overwrite, fix='name another folder with --output', inputs=read)
    return target


def _checked(
    segmentor: BiSeNetSegmentor, format: str, precision: str, dynamic: bool, output_kind: str | None
) -> tuple[FileBackend, str]:
    if not isinstance(segmentor, BiSeNetSegmentor):
        raise InputError(f'segmentor of type {type(segmentor).__name__}: give a network, as get_model returns it')
    if format not in FORMATS:
        raise InputError(f'format {format!r} is not known; choose one of {", ".join(FORMATS)}')
    backend = FORMATS[format]
    if precision not in backend.written_in:
        others = [name for name, other in FORMATS.items() if precision in other.written_in]
        also = f', or {precision} in {", ".join(others)}' if others else ''
        raise InputError(
            f'format {format} has no precision {precision!r}; choose {", ".join(backend.written_in)}{also}'
        )
    if dynamic and not backend.free_shapes:
        raise InputError(
            f'format {format} takes images of one shape; leave --dynamic out, and give the size with --shape'
        )
    output_kind = backend.output_kinds[0] if output_kind is None else output_kind
    if output_kind not in ('labels', 'logits'):
        raise InputError(f"output_kind {output_kind!r} is not known; choose 'labels' or 'logits'")
    if output_kind not in backend.output_kinds:
        raise InputError(f'format {format} has no {output_kind}; take --output-kind {backend.output_kinds[0]}')
    if segmentor.num_classes > 256 and output_kind == 'labels':
        raise InputError(
            f'the network has {segmentor.num_classes} classes, and labels are uint8, up to 256; take '
            '--output-kind logits'
        )
    return backend, output_kind


def _describe(
    segmentor: BiSeNetSegmentor,
    backend: FileBackend,
    precision: str,
    shape: tuple[int, int],
    dynamic: bool,
    output_kind: str,
) -> dict:
    preprocessor = segmentor.data_preprocessor
    described = describe(segmentor)
    packages = ('torch', *backend.needs(precision == 'int8'))
    versions = {name: version for name in packages if (version := _version(name))}
    return dict(
        format_version=FORMAT_VERSION,
        config=_config_name(segmentor),
        format=backend.format,
        precision=precision,
        shape=list(shape),
        dynamic=dynamic,
        output_kind=output_kind,
        num_classes=described['num_classes'],
        align_corners=described['align_corners'],
        classes=list(described['classes']),
        palette=np.asarray(described['palette']).tolist(),
        mean=preprocessor.mean.flatten().tolist() if hasattr(preprocessor, 'mean') else None,
        std=preprocessor.std.flatten().tolist() if hasattr(preprocessor, 'std') else None,
        channel_order='bgr',
        opset=None,
        versions=dict(mmseg_bisenet=__version__) | versions,
    )


def _file_name(config: str, backend: FileBackend, precision: str, shape: Sequence[int]) -> str:
    return f'{config}_{precision}_{shape[0]}x{shape[1]}{backend.suffix}'


def _config_name(segmentor: BiSeNetSegmentor) -> str:
    config = getattr(getattr(segmentor, 'cfg', None), 'filename', None)
    return Path(config).stem if config else type(segmentor.backbone).__name__.lower()


def _version(package: str) -> str | None:
    """None for a module that another distribution brings, such as a build for GPUs."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
