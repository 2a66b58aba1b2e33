"""A segmentor as one file for another runtime, checked against PyTorch before it is called done.

Every format starts from ``torch.export``: ONNX by ``torch.onnx.export``, OpenVINO and TensorRT from that ONNX, a
package of AOTInductor directly. A file is written and checked in a folder of its own, and moved when it passes.
"""

import importlib.metadata
import io
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from mmseg_bisenet import __version__
from mmseg_bisenet.deploy import engines, quantize, tensorrt, verify
from mmseg_bisenet.deploy import precision as precisions
from mmseg_bisenet.deploy.graph import LARGEST, SMALLEST, Graph, to_onnx, to_program
from mmseg_bisenet.deploy.metadata import FORMAT_VERSION, KEY, SUFFIXES, beside, require
from mmseg_bisenet.deploy.network import DeployNetwork, describe
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.miniscapes.scene import draw_scene
from mmseg_bisenet.models import BiSeNetSegmentor

logger = logging.getLogger(__name__)

PRECISIONS = dict(
    onnx=('fp32', 'fp16', 'int8'),
    openvino=('fp32', 'bf16', 'fp16', 'int8'),
    pt2=('fp32', 'bf16', 'fp16'),
    tensorrt=('fp32', 'bf16', 'fp16', 'int8'),
)
PACKAGES = dict(onnx=('onnxruntime',), openvino=('openvino',), pt2=(), tensorrt=())


def export(
    segmentor: BiSeNetSegmentor,
    format: str,
    precision: str,
    shape: Sequence[int],
    output: str | Path,
    *,
    dynamic: bool = False,
    output_kind: str = 'labels',
    calibration: Iterable[np.ndarray] = (),
    keep_float: Sequence[str] = (),
) -> Path:
    """Write ``<config>_<precision>_<H>x<W>`` with the ending of the format into a folder.

    The file takes ``images``, (N, H, W, 3) uint8 BGR, and gives ``labels`` (N, H, W) uint8, or ``logits``
    (N, num_classes, ceil(H / 8), ceil(W / 8)). What it says of itself :func:`~.metadata.read_metadata` reads. How many
    labels equal those of PyTorch is logged.

    Args:
        segmentor: from :func:`mmseg_bisenet.get_model`, say; it is left as it is.
        format: ``onnx``, ``openvino``, ``pt2`` (AOTInductor, for the segmentor's device) or ``tensorrt``.
        precision: ``fp32``, ``bf16``, ``fp16`` or ``int8``, where the format has it.
        shape: height and width of the images.
        output: the folder; it is made.
        dynamic: whether N, H and W are free; otherwise N is 1.
        output_kind: ``labels`` or ``logits``.
        calibration: images (H, W, 3) uint8 BGR of that shape, for int8.
        keep_float: modules that stay float in int8.

    Raises:
        InputError: what this machine, the format or the network cannot do, too few images, a folder that cannot be
            written, or a file that does not compute what PyTorch does, which is removed.
    """
    shape = _checked(segmentor, format, precision, shape, output_kind)
    device = next(segmentor.parameters()).device if format == 'pt2' else torch.device('cpu')
    _require_runtime(format, precision, device)
    images = quantize.checked(calibration, shape) if precision == 'int8' else []
    metadata = _describe(segmentor, format, precision, shape, dynamic, output_kind)
    output = Path(output)
    name = f'{metadata["config"]}_{precision}_{shape[0]}x{shape[1]}{SUFFIXES[format]}'
    try:
        output.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=output, prefix='.unfinished-', ignore_cleanup_errors=True)
    except OSError as error:
        raise InputError(f'output folder {output} cannot be written ({error.strerror}); name another') from error
    with folder:
        path = Path(folder.name, name)
        with quantize.quiet(), torch.no_grad():
            network = DeployNetwork(segmentor).to(device)
            _write(path, network, metadata, images, keep_float)
            network = DeployNetwork(segmentor).to(device)
            equal, right = verify.compare(
                verify.runner(path, metadata, device), network, _batches(images, shape, dynamic), metadata
            )
        needed = verify.NEEDED[precision]
        if right < needed:
            cure = '; name layers with --keep-float, or calibrate with other images' if precision == 'int8' else ''
            raise InputError(
                f'{name}: {right:.2%} of its labels are those of PyTorch in fp32, and {needed:.2%} are needed; it was '
                f'removed{cure or "; take another precision or format, and report it"}'
            )
        logger.info(
            '%.3f%% of the labels equal those of PyTorch in fp32, %.3f%% but for ties', 100 * equal, 100 * right
        )
        _move(path, output)
    return output / name


# -- before ------------------------------------------------------------------------------------------------------------


def _checked(
    segmentor: BiSeNetSegmentor, format: str, precision: str, shape: Sequence[int], output_kind: str
) -> tuple[int, int]:
    if format not in PRECISIONS:
        raise InputError(f'format {format!r} is not known; choose one of {", ".join(PRECISIONS)}')
    if precision not in PRECISIONS[format]:
        others = [name for name, known in PRECISIONS.items() if precision in known]
        also = f', or {precision} in {", ".join(others)}' if others else ''
        raise InputError(
            f'format {format} has no precision {precision!r}; choose {", ".join(PRECISIONS[format])}{also}'
        )
    if output_kind not in ('labels', 'logits'):
        raise InputError(f"output_kind {output_kind!r} is not known; choose 'labels' or 'logits'")
    if len(shape) != 2 or not all(SMALLEST <= side <= LARGEST for side in shape):
        raise InputError(
            f'shape {" ".join(map(str, shape))}: give height and width, each from {SMALLEST} to {LARGEST} pixels'
        )
    if segmentor.num_classes > 256 and output_kind == 'labels':
        raise InputError(
            f'the network has {segmentor.num_classes} classes, and labels are uint8, up to 256; take '
            '--output-kind logits'
        )
    return tuple(map(int, shape))


def _require_runtime(format: str, precision: str, device: torch.device) -> None:
    """Refuse what is not installed, or what this machine cannot run, and so not check."""
    engines.require_torch(f'format {format}')
    if format == 'tensorrt':
        require('tensorrt', cure='run: pip install tensorrt')
        precisions.require(format, precision, torch.device('cuda'))
    if format != 'pt2':
        require('onnx', 'onnxscript', *PACKAGES[format], *(['nncf'] if precision == 'int8' else []))
    else:
        engines.require_compiler()
    if (precision == 'bf16' and format == 'openvino') or format == 'pt2':
        precisions.require(format, precision, device)


def _describe(
    segmentor: BiSeNetSegmentor, format: str, precision: str, shape: tuple[int, int], dynamic: bool, output_kind: str
) -> dict:
    config = getattr(getattr(segmentor, 'cfg', None), 'filename', None)
    preprocessor = segmentor.data_preprocessor
    described = describe(segmentor)
    packages = [name for name in ('torch', 'onnx', 'onnxscript', 'openvino', 'nncf', 'tensorrt') if _version(name)]
    return dict(
        format_version=FORMAT_VERSION,
        config=Path(config).stem if config else type(segmentor.backbone).__name__.lower(),
        format=format,
        precision=precision,
        shape=list(shape),
        dynamic=dynamic,
        output_kind=output_kind,
        num_classes=described['num_classes'],
        align_corners=described['align_corners'],
        classes=list(described['classes']),
        palette=np.asarray(described['palette'] or []).tolist(),
        mean=preprocessor.mean.flatten().tolist() if hasattr(preprocessor, 'mean') else None,
        std=preprocessor.std.flatten().tolist() if hasattr(preprocessor, 'std') else None,
        channel_order='bgr',
        opset=None,
        versions=dict(mmseg_bisenet=__version__) | {name: _version(name) for name in packages},
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _batches(images: list[np.ndarray], shape: tuple[int, int], dynamic: bool) -> list[np.ndarray]:
    """Two images to check with, and if shapes are free both at once, and smaller."""
    height, width = shape
    both = np.stack(images[:: len(images) - 1] if images else [draw_scene(seed, shape)[0] for seed in (0, 1)])
    if not dynamic:
        return [both[:1], both[1:]]
    return [both[:1], both, both[:, : max(SMALLEST, height - 13), : max(SMALLEST, width - 27)].copy()]


# -- files -------------------------------------------------------------------------------------------------------------


def _write(
    path: Path, network: DeployNetwork, metadata: dict, images: list[np.ndarray], keep_float: Sequence[str]
) -> None:
    format, precision = metadata['format'], metadata['precision']
    shape, dynamic, labels = tuple(metadata['shape']), metadata['dynamic'], metadata['output_kind'] == 'labels'
    # OpenVINO keeps fp16 weights of a float32 graph, and decides on bf16 when it runs.
    dtype = torch.float32 if format == 'openvino' else precisions.DTYPES.get(precision, torch.float32)
    network = network.to(dtype)
    kept = list(keep_float)
    # A twentieth of the work, and most of the accuracy that int8 would cost.
    kept += [name for name, part in network.named_modules() if getattr(part, 'in_channels', None) == 4]
    graph = Graph(network, labels, format == 'tensorrt')
    if format == 'pt2':
        _write_pt2(path, graph, metadata)
        return
    model = to_onnx(graph, shape, dynamic)
    if format == 'openvino':
        _write_openvino(path, model, metadata, images, kept)
        return
    if precision == 'int8':
        model = quantize.quantize(model, images, kept, signed=format == 'tensorrt')
    if format == 'tensorrt':
        path.write_bytes(tensorrt.build(model, shape, dynamic, SMALLEST))
        _write_beside(path, metadata)
        return
    metadata['opset'] = next(item.version for item in model.opset_import if not item.domain)
    model.metadata_props.add(key=KEY, value=json.dumps(metadata))
    path.write_bytes(model.SerializeToString())


def _write_openvino(path: Path, model: object, metadata: dict, images: list[np.ndarray], kept: Sequence[str]) -> None:
    import openvino as ov

    model = ov.convert_model(io.BytesIO(model.SerializeToString()))
    if metadata['precision'] == 'int8':
        model = quantize.quantize(model, images, kept)
    model.set_rt_info(json.dumps(metadata), [KEY])
    ov.save_model(model, path, compress_to_fp16=metadata['precision'] in ('fp16', 'bf16'))


def _write_pt2(path: Path, graph: Graph, metadata: dict) -> None:
    program = to_program(graph, tuple(metadata['shape']), metadata['dynamic'])
    # Frozen weights are laid out for the kernels beforehand.
    options = dict(freezing=True)
    torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=options)
    _write_beside(path, metadata | dict(device=next(graph.parameters()).device.type))


def _write_beside(path: Path, metadata: dict) -> None:
    beside(path).write_text(json.dumps(metadata | dict(bytes=path.stat().st_size)))


def _move(path: Path, output: Path) -> None:
    """Put what was written in place of what was there, so that at no time a file lies beside parts of another."""
    try:
        (output / path.name).unlink(missing_ok=True)
        for part in sorted(path.parent.iterdir(), key=lambda part: part == path):
            os.replace(part, output / part.name)
    except OSError as error:
        raise InputError(f'output folder {output} cannot be written ({error.strerror}); name another') from error
