"""What runs a network, each as its documentation advises for latency: images in, logits or labels out.

An engine is a callable: images (N, H, W, 3), a contiguous uint8 tensor, BGR, on the engine's device -> logits
(N, num_classes, h, w) of a floating type, or labels (N, H, W) uint8. What it gives may be overwritten by its next call
in the same thread. Any number of threads may call one, but for :func:`compiled` on CUDA.

- ONNX Runtime: https://onnxruntime.ai/docs/performance/tune-performance/threading.html. Deviation: threads don't spin
  while they wait, as they do by default, for they would take the cores from the labels, which come next.
- OpenVINO: https://docs.openvino.ai, "Performance Hints and Thread Scheduling" and "Shared Memory on Inputs and
  Outputs". Deviation: threads are not pinned to cores, for two programs on one machine would share the first ones.
- PyTorch: freezing makes constants of the weights, which Inductor then packs for the processor's kernels.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType

import torch
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_bisenet.deploy.metadata import require
from mmseg_bisenet.deploy.precision import cpu_has
from mmseg_bisenet.deploy.signal_stack import kept_signal_stack
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models import BiSeNetSegmentor

Engine = Callable[[Tensor], Tensor]


def eager(segmentor: BiSeNetSegmentor) -> Engine:
    """The segmentor's ``test_step``, which is how mmengine tests: labels.

    Raises:
        InputError: more classes than a byte counts.
    """
    if segmentor.num_classes > 256:
        raise InputError(f'{segmentor.num_classes} classes: labels are uint8; use a model of at most 256 classes')

    def run(images: Tensor) -> Tensor:
        inputs = list(images.permute(0, 3, 1, 2).contiguous())
        metas = dict(img_shape=images.shape[1:3], ori_shape=images.shape[1:3])
        samples = [SegDataSample(metainfo=metas) for _ in inputs]
        results = segmentor.test_step(dict(inputs=inputs, data_samples=samples))
        return torch.cat([sample.pred_sem_seg.data for sample in results]).to(torch.uint8)

    return run


# -- PyTorch -----------------------------------------------------------------------------------------------------------


def compiled(network: nn.Module, shape: tuple[int, int], device: torch.device) -> Engine:
    """``torch.compile``'s network for one image of ``shape``; on CUDA with CUDA graphs, to be called by one thread.

    Of Inductor's modes ``reduce-overhead`` is the one for CUDA: a hundred small kernels take as long to launch as to
    run. ``max-autotune`` compiles for minutes, and mostly finds cuDNN's convolutions to be the fastest.
    """
    require_compiler()

    def run(images: Tensor) -> Tensor:
        return network(images)

    # Dynamo counts by code object, and leaves the ninth of one eager without an error: each network has its own.
    run = FunctionType(run.__code__.replace(), run.__globals__, closure=run.__closure__)
    options = {'triton.cudagraphs': True} if device.type == 'cuda' else {}
    function = torch.compile(run, dynamic=False, options=options)
    images = torch.zeros(1, *shape, 3, dtype=torch.uint8, device=device)
    # Frozen is what was compiled inside; `options` would come too late for Dynamo, which looks at it too.
    with torch._inductor.config.patch(freezing=True), torch.inference_mode():
        function(images)
    return function


def require_torch(what: str) -> None:
    """Raises:
    InputError: PyTorch is older than what exports and compiles as is needed here.
    """
    if torch.__version__ < '2.6':  # a `TorchVersion` compares as a version
        raise InputError(f'{what}: PyTorch 2.6 or newer is needed, and this is {torch.__version__}; install it')


def require_compiler() -> None:
    """Raises:
    InputError: PyTorch is too old, or Inductor finds no compiler for C++.
    """
    require_torch('runtimes compile and pt2')
    from torch._inductor import cpp_builder

    try:
        cpp_builder.get_cpp_compiler()
    except RuntimeError as error:
        raise InputError(
            'runtimes compile and pt2 need a compiler for C++, and none was found; install g++, or set CXX'
        ) from error


def aot_inductor(path: Path, device: torch.device | None = None) -> Engine:
    """A package of AOTInductor, by default on the GPU that is current; it needs no compiler."""
    # PyTorch 2.6 does not know the argument.
    place = {} if device is None or device.index is None else dict(device_index=device.index)
    with _reading(path, 'pt2'):
        package = torch._inductor.aoti_load_package(str(path), **place)
    return lambda images: _first(package(images))


def _first(outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
    return outputs if isinstance(outputs, Tensor) else outputs[0]


# -- ONNX Runtime and OpenVINO -----------------------------------------------------------------------------------------


def onnx_runtime(path: Path, metadata: dict, threads: int, throughput: bool) -> Engine:
    """With ``throughput`` each call runs in one thread, for as many callers as there are cores."""
    ort, onnx = require('onnxruntime', 'onnx')
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = 1 if throughput else threads
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    with _reading(path, 'onnxruntime'):
        model = onnx.load(path)
        if metadata['output_kind'] == 'labels':
            # It needs the shapes of tensors inside.
            model = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model)).extract_model(['images'], ['logits'])
        session = ort.InferenceSession(model.SerializeToString(), options, providers=['CPUExecutionProvider'])
    return lambda images: torch.from_numpy(session.run(['logits'], {'images': images.numpy()})[0])


@kept_signal_stack()
def openvino(path: Path, metadata: dict, threads: int, throughput: bool) -> Engine:
    """With ``throughput`` OpenVINO runs as many calls at a time as suit the machine."""
    (ov,) = require('openvino')
    # By default the first is bf16 where the CPU has it. Of an int8 network it is what the layers left out compute in.
    precision = metadata['precision']
    if precision == 'int8':
        precision = 'bf16' if cpu_has('bf16') else 'fp32'
    config = {
        'INFERENCE_PRECISION_HINT': dict(fp32='f32', bf16='bf16', fp16='f16')[precision],
        'PERFORMANCE_HINT': 'THROUGHPUT' if throughput else 'LATENCY',
        'INFERENCE_NUM_THREADS': threads,
        'ENABLE_CPU_PINNING': False,
    }
    with _reading(path, 'openvino'):
        core = ov.Core()
        model = core.read_model(path)
        if metadata['output_kind'] == 'labels':
            outputs = (output for node in model.get_ops() for output in node.outputs())
            logits = next(output for output in outputs if 'logits' in output.get_names())
            model = ov.Model([logits], model.get_parameters())
        model = core.compile_model(model, 'CPU', config)
    own = threading.local()  # a request is of one caller at a time

    def run(images: Tensor) -> Tensor:
        if not hasattr(own, 'request'):
            own.request = model.create_infer_request()
        return torch.from_numpy(own.request.infer([images.numpy()], share_inputs=True, share_outputs=True)[0])

    return run


# -- TensorRT ----------------------------------------------------------------------------------------------------------


def tensorrt(path: Path, metadata: dict, device: torch.device | None = None) -> Engine:
    """An engine of TensorRT, by default on the GPU that is current; unmeasured so far.

    It raises InputError for images of a shape that it does not take.
    """
    (trt,) = require('tensorrt', cure='run: pip install tensorrt')
    with torch.cuda.device(device):
        runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise InputError(
            f'exported file {path} does not load in TensorRT {trt.__version__}: an engine runs with the version and on '
            'the kind of GPU that it was built with; export it anew here'
        )
    name = metadata['output_kind']
    names = dict(FLOAT='float32', HALF='float16', BF16='bfloat16', UINT8='uint8')
    dtype = getattr(torch, names[engine.get_tensor_dtype(name).name])
    own = threading.local()  # a context is of one caller at a time

    def run(images: Tensor) -> Tensor:
        with torch.cuda.device(images.device):  # which GPU is current is each thread's own
            if not hasattr(own, 'context'):
                own.context, own.stream = engine.create_execution_context(), torch.cuda.Stream()
            context, current, shape = own.context, torch.cuda.current_stream(), tuple(images.shape)
            if not context.set_input_shape('images', shape):
                least, _, most = map(tuple, engine.get_tensor_profile_shape('images', 0))
                raise InputError(
                    f'images of shape {shape}: {path} takes {least} to {most}; export with --dynamic and a larger '
                    '--shape'
                )
            result = torch.empty(tuple(context.get_tensor_shape(name)), dtype=dtype, device=images.device)
            context.set_tensor_address('images', images.data_ptr())
            context.set_tensor_address(name, result.data_ptr())
            # On the default stream TensorRT would wait for the GPU before and after.
            own.stream.wait_stream(current)
            if not context.execute_async_v3(own.stream.cuda_stream):
                raise InputError(
                    f'images of shape {shape}: TensorRT {trt.__version__} cannot run {path}, and its errors are above; '
                    'free memory of the GPU, or export it anew here'
                )
            current.wait_stream(own.stream)
            return result

    return run


@contextmanager
def _reading(path: Path, runtime: str) -> Iterator[None]:
    """What a runtime says of a file that it cannot take, in one line."""
    try:
        yield
    except Exception as error:  # each has its own kinds
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f'exported file {path} does not load in {runtime} ({reason}); it is damaged, or of a newer version: export '
            'it anew'
        ) from error
