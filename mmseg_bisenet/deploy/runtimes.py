"""A network, ready to label images, by any runtime, from a config or an exported file.

    segment = load('bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024', 'weights.pth', runtime='openvino', precision='bf16')
    labels = segment(image)  # (H, W, 3) uint8, BGR -> (H, W) uint8

Every runtime but ``eager`` stops at the low-resolution logits, and ``upsample_argmax`` makes labels of them, which is
faster than any runtime's own resizing and argmax.
"""

import copy
import operator
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mmseg_bisenet.deploy import engines, quantize, verify
from mmseg_bisenet.deploy.engines import Engine
from mmseg_bisenet.deploy.metadata import SUFFIXES, read_metadata
from mmseg_bisenet.deploy.network import DeployNetwork, describe
from mmseg_bisenet.deploy.precision import DTYPES, cpu_has, cpu_has_tiles, require
from mmseg_bisenet.deploy.predictor import Predictor
from mmseg_bisenet.deploy.winograd.layer import has_int8, use_int8, use_winograd
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models import BiSeNetSegmentor
from mmseg_bisenet.zoo import get_model

# Formats of files, and what runs them.
RUNTIMES = dict(onnx='onnxruntime', openvino='openvino', pt2='pt2', tensorrt='tensorrt')
FORMATS = {runtime: format for format, runtime in RUNTIMES.items()}
PARALLEL = ('onnxruntime', 'openvino')  # gain by several images at a time; PyTorch does not
WARM_UP = 3  # calls; a CUDA graph is recorded in the second


def load(
    config_or_exported: str | Path | BiSeNetSegmentor,
    checkpoint: str | Path | bool | None = None,
    runtime: str | None = None,
    precision: str | None = None,
    shape: Sequence[int] | None = None,
    device: str | torch.device = 'cpu',
    *,
    channel_order: str = 'bgr',
    threads: int | None = None,
    throughput: bool = False,
    calibration: Iterable[np.ndarray] = (),
) -> Predictor:
    """A network that is ready to label images, warmed up.

    Args:
        config_or_exported: a name of :func:`mmseg_bisenet.list_models`, the path of a config, a segmentor, or a file
            that ``mmseg-bisenet export`` wrote (``.onnx``, ``.xml``, ``.pt2``, ``.engine``), which settles ``runtime``,
            ``precision`` and ``shape``.
        checkpoint: weights for a config: a file, or True for those of the model index. Without it they are random.
        runtime: ``eager`` (the default: the segmentor as MMSegmentation tests it, without the resizing of its test
            pipeline), ``deploy`` (rewritten for inference), ``compile``, ``pt2`` (AOTInductor), ``onnxruntime``,
            ``openvino`` or ``tensorrt``.
        precision: ``fp32`` (the default), ``bf16``, ``fp16`` or ``int8``.
        shape: height and width of the images, by default (512, 1024). ``eager`` and ``deploy`` take others too, and are
            warmed up with this one.
        device: ``cpu`` or ``cuda``.
        channel_order: of the images, ``bgr`` as OpenCV reads them, or ``rgb``.
        threads: on a CPU, by default as many as PyTorch uses. It becomes PyTorch's number for the whole process, which
            the labels are made with in every runtime.
        throughput: for ``onnxruntime`` and ``openvino``: run images of a batch at the same time, each in few threads.
        calibration: for ``int8`` of a config: images (H, W, 3) uint8 BGR of ``shape``, which set its ranges.

    Raises:
        InputError: what was asked for contradicts itself or the file, is not to be had on this machine, or needs a
            package that is not installed; a file is missing, damaged or of another version.
    """
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise InputError(f'device={device!r} is not known; give cpu or cuda') from error
    if channel_order not in ('bgr', 'rgb'):
        raise InputError(f'channel_order={channel_order!r} is not known; give bgr or rgb')
    if threads is not None:
        if threads < 1:
            raise InputError(f'threads={threads}: give 1 or more')
        torch.set_num_threads(threads)
    if _is_exported(config_or_exported):
        if checkpoint:
            raise InputError(f'exported file {config_or_exported} has its weights; leave checkpoint {checkpoint} out')
        engine, metadata = _from_file(Path(config_or_exported), runtime, precision, shape, device, throughput)
    else:
        wanted = dict(runtime=runtime or 'eager', precision=precision or 'fp32', shape=_checked(shape or (512, 1024)))
        engine, metadata = _from_config(config_or_exported, checkpoint, wanted, device, throughput, calibration)
    workers = torch.get_num_threads() if throughput and metadata['runtime'] in PARALLEL else None
    predictor = Predictor(engine, metadata, device, channel_order, workers)
    images = np.zeros((workers or 1, *predictor.shape, 3), np.uint8)
    for _ in range(WARM_UP):
        predictor(images)
    return predictor


def _is_exported(source: str | Path | BiSeNetSegmentor) -> bool:
    return isinstance(source, str | Path) and Path(source).suffix in SUFFIXES.values()


def _checked(shape: Sequence[int]) -> tuple[int, int]:
    try:
        height, width = map(operator.index, shape)
    except (TypeError, ValueError) as error:
        raise InputError(f'shape={shape!r}: give (height, width) in pixels') from error
    if min(height, width) < 1:
        raise InputError(f'shape={(height, width)}: give a height and a width of 1 or more')
    return height, width


def _from_file(
    path: Path,
    runtime: str | None,
    precision: str | None,
    shape: Sequence[int] | None,
    device: torch.device,
    throughput: bool,
) -> tuple[Engine, dict]:
    metadata = read_metadata(path)
    metadata |= dict(runtime=RUNTIMES[metadata['format']], shape=tuple(metadata['shape']))
    shape = shape and _checked(shape)
    for name, value in dict(runtime=runtime, precision=precision, shape=shape).items():
        if value not in (None, metadata[name]) and not (name == 'shape' and metadata['dynamic']):
            raise InputError(
                f'exported file {path} is of {name} {metadata[name]}, not {value}; leave {name} out, or export another'
            )
    metadata['shape'] = shape or metadata['shape']
    require(metadata['runtime'], metadata['precision'], device)
    made_for = metadata.get('device', device.type)  # of a package of AOTInductor, which is machine code
    if made_for != device.type:
        raise InputError(f'exported file {path} runs on {made_for}, not on {device}; give device={made_for!r}')
    return _open(path, metadata, device, throughput), metadata


def _open(path: Path, metadata: dict, device: torch.device, throughput: bool) -> Engine:
    threads = torch.get_num_threads()
    if metadata['runtime'] == 'onnxruntime':
        return engines.onnx_runtime(path, metadata, threads, throughput)
    if metadata['runtime'] == 'openvino':
        return engines.openvino(path, metadata, threads, throughput)
    if metadata['runtime'] == 'pt2':
        return engines.aot_inductor(path, device)
    return engines.tensorrt(path, metadata, device)


def _from_config(
    source: str | Path | BiSeNetSegmentor,
    checkpoint: str | Path | bool | None,
    wanted: dict,
    device: torch.device,
    throughput: bool,
    calibration: Iterable[np.ndarray],
) -> tuple[Engine, dict]:
    runtime, precision, shape = wanted.values()
    require(runtime, precision, device)
    images = _calibration(calibration, runtime, shape, device) if precision == 'int8' else []
    if runtime in ('compile', 'pt2'):
        engines.require_compiler()
    if isinstance(source, BiSeNetSegmentor):
        segmentor = copy.deepcopy(source).eval().to(device)
    else:
        segmentor = get_model(str(source), checkpoint or False, device=device)
    if runtime in FORMATS:
        from mmseg_bisenet.deploy.export import export  # it brings packages of an extra

        # What a runtime has mapped into memory cannot be removed on Windows.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            format = FORMATS[runtime]
            path = export(segmentor, format, precision, shape, folder, output_kind='logits', calibration=images)
            return _from_file(path, None, None, None, device, throughput)
    if device.type == 'cuda':
        torch.backends.cudnn.benchmark = True
    metadata = wanted | dict(dynamic=runtime != 'compile') | describe(segmentor)
    if runtime == 'eager':
        return engines.eager(segmentor), metadata
    network = DeployNetwork(segmentor).to(device)
    if device.type == 'cpu' and _pays_winograd(precision):
        use_winograd(network)  # in float32, before weights are rounded
    if precision == 'int8':
        network = _in_int8(network, images, metadata)
    else:
        network = network.to(DTYPES[precision])
    return engines.compiled(network, shape, device) if runtime == 'compile' else network, metadata


def _pays_winograd(precision: str) -> bool:
    """Whether a quarter of the products takes less time, without AMX; and PyTorch, from 2.4 on, can do it."""
    faster = precision in ('fp32', 'int8') or (precision == 'bf16' and not cpu_has_tiles())
    return faster and hasattr(torch.library, 'custom_op')


def _calibration(
    images: Iterable[np.ndarray], runtime: str, shape: tuple[int, int], device: torch.device
) -> list[np.ndarray]:
    images = quantize.checked(images, shape)
    if runtime not in FORMATS and not (device.type == 'cpu' and hasattr(torch.library, 'custom_op') and has_int8()):
        raise InputError(
            f'runtime {runtime}: int8 needs a CPU with AVX-512-VNNI, Linux, Numba and PyTorch 2.4 or newer, and '
            f'one of these is missing here; choose {" or ".join(PARALLEL)}'
        )
    return images


def _in_int8(network: DeployNetwork, images: list[np.ndarray], metadata: dict) -> nn.Module:
    """The network with Winograd's products in int8, and in bfloat16 what else is left, where the CPU has it.

    Raises:
        InputError: its labels are not those of float32, as is asked of exported files too.
    """
    exact = copy.deepcopy(network)
    use_int8(network, (torch.from_numpy(image)[None] for image in images))
    network = network.to(torch.bfloat16 if cpu_has('bf16') else torch.float32)
    outermost = [image[None] for image in (images[0], images[-1])]
    with torch.inference_mode():
        run = lambda image: network(torch.from_numpy(image)).float().numpy()  # noqa: E731
        _, right = verify.compare(run, exact, outermost, metadata | dict(output_kind='logits'))
    if right < verify.NEEDED['int8']:
        raise InputError(
            f'int8: {right:.2%} of the labels are those of PyTorch in fp32, and {verify.NEEDED["int8"]:.2%} are '
            'needed; calibrate with other images, or take another precision'
        )
    return network
