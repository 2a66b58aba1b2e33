"""Which runtime computes in which precision, on which device, and whether this machine can."""

from pathlib import Path

import torch

from mmseg_bisenet.errors import InputError

PRECISIONS = dict(
    eager=('fp32',),
    deploy=('fp32', 'bf16', 'fp16', 'int8'),  # int8 by Winograd's convolutions, on CPUs
    compile=('fp32', 'bf16', 'fp16', 'int8'),
    pt2=('fp32', 'bf16', 'fp16'),
    onnxruntime=('fp32', 'int8'),  # its kernels for CPUs know no bf16, and take fp16 by way of fp32
    openvino=('fp32', 'bf16', 'fp16', 'int8'),
    tensorrt=('fp32', 'bf16', 'fp16', 'int8'),
)
DTYPES = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)

# Names of PyTorch's `torch.cpu.get_capabilities`, and of Linux: instructions that multiply numbers of a type. Without
# them a CPU goes by way of fp32, and is slower than in fp32.
INSTRUCTIONS = dict(
    bf16=('avx512_bf16', 'amx_bf16', 'bf16'),
    fp16=('avx512_fp16', 'amx_fp16', 'fp16_arith', 'asimdhp'),
)


def require(runtime: str, precision: str, device: torch.device) -> None:
    """Refuse what cannot run here.

    Raises:
        InputError: no such runtime or precision, or none for the other; or a device or precision that this machine
            lacks.
    """
    if runtime not in PRECISIONS:
        raise InputError(f'runtime {runtime!r} is not known; choose one of {", ".join(PRECISIONS)}')
    if precision not in PRECISIONS[runtime]:
        others = [name for name, known in PRECISIONS.items() if precision in known]
        cure = f'; {precision} is of {", ".join(others)}' if others else ''
        raise InputError(
            f'runtime {runtime} does not compute in {precision!r}; choose {" or ".join(PRECISIONS[runtime])}{cure}'
        )
    _require_device(runtime, device)
    if not _can(precision, device):
        whose = 'this CPU has no instructions for it' if device.type == 'cpu' else 'this GPU does not compute in it'
        others = [name for name in PRECISIONS[runtime] if _can(name, device)]
        raise InputError(f'precision {precision}: {whose}; choose {" or ".join(others)}')


def _require_device(runtime: str, device: torch.device) -> None:
    known = dict(onnxruntime=('cpu',), openvino=('cpu',), tensorrt=('cuda',)).get(runtime, ('cpu', 'cuda'))
    if device.type not in known:
        raise InputError(f"runtime {runtime} does not run on device '{device}'; give device={known[0]!r}")
    if device.type == 'cuda' and not torch.cuda.is_available():
        cure = '' if runtime == 'tensorrt' else ", or give device='cpu'"
        raise InputError(f"device '{device}': PyTorch sees no GPU; install its build for CUDA{cure}")


def _can(precision: str, device: torch.device) -> bool:
    return cpu_has(precision) if device.type == 'cpu' else precision != 'bf16' or torch.cuda.is_bf16_supported()


def cpu_has(precision: str) -> bool:
    """Whether this machine's CPU multiplies numbers of that type itself."""
    return precision not in INSTRUCTIONS or not _instructions().isdisjoint(INSTRUCTIONS[precision])


def cpu_has_tiles() -> bool:
    """Whether this machine's CPU multiplies matrices of bf16 (AMX): sixteen times as fast as AVX-512 does in fp32."""
    return 'amx_bf16' in _instructions()


def _instructions() -> set[str]:
    if hasattr(torch.cpu, 'get_capabilities'):  # from PyTorch 2.11 on
        return {name for name, value in torch.cpu.get_capabilities().items() if value is True}
    info = Path('/proc/cpuinfo')
    return set(info.read_text().split()) if info.exists() else set()
