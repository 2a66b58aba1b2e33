"""Vectors of float32 and bfloat16 in LLVM's language, for :mod:`mmseg_bisenet.deploy.winograd.kernel`."""

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features, initialize_native_asmparser
from numba.core import cgutils

initialize_native_asmparser()  # Numba does not, and the instructions given by name need it

LANES = 16 if get_host_cpu_features().get('avx512f') else 8  # float32 values a vector register
LINE = 64  # bytes of a line of the caches


def has_bfloat16() -> bool:
    """Whether the CPU has AVX-512-BF16."""
    return bool(get_host_cpu_features().get('avx512bf16'))


FLOAT, INT = ir.FloatType(), ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)
WORDS = ir.VectorType(ir.IntType(32), LANES)
HALVES = ir.VectorType(ir.IntType(16), LANES)  # bfloat16, which llvmlite lacks, is the upper half of a float32


def constant(value: float) -> ir.Constant:
    return ir.Constant(VECTOR, [float(value)] * LANES)


def pointer(builder: ir.IRBuilder, address: ir.Value, offset: int = 0, to: ir.Type = VECTOR) -> ir.Value:
    return builder.inttoptr(builder.add(address, ir.Constant(INT, offset)), to.as_pointer())


def prefetch(builder: ir.IRBuilder, address: ir.Value) -> None:
    """Start to bring a line into the second cache. Any address is allowed."""
    instruction = 'prefetcht1 ($0)' if get_host_cpu_features().get('fma') else 'prfm pldl2keep, [$0]'
    builder.asm(ir.FunctionType(ir.VoidType(), [INT]), instruction, 'r', [address], True)


def broadcast(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    indices = ir.VectorType(ir.IntType(32), LANES)
    undefined = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
    vector = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(vector, vector, ir.Constant(indices, [0] * LANES))


def fma(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    signature = ir.FunctionType(VECTOR, [VECTOR] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, f'llvm.fma.v{LANES}f32'), [a, b, c])


def dot(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """``c`` and, lane by lane, the products of two pairs of bfloat16.

    By the instruction's own name: LLVM's for it takes other types from release to release.
    """
    signature = ir.FunctionType(VECTOR, [VECTOR, a.type, b.type])
    return builder.asm(signature, 'vdpbf16ps $2, $3, $0', '=v,0,v,v', [c, a, b], False)


def from_bfloat16(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    sixteen = ir.Constant(WORDS, [16] * LANES)
    return builder.bitcast(builder.shl(builder.zext(value, WORDS), sixteen), VECTOR)


def to_bfloat16(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Rounded to the nearest, of two to the even one."""
    sixteen, one, below, nan = (ir.Constant(WORDS, [n] * LANES) for n in (16, 1, 0x7FFF, 0x7FC0))
    bits = builder.bitcast(value, WORDS)
    odd = builder.and_(builder.lshr(bits, sixteen), one)
    rounded = builder.lshr(builder.add(bits, builder.add(odd, below)), sixteen)
    return builder.trunc(builder.select(builder.fcmp_unordered('uno', value, value), nan, rounded), HALVES)


def round_to_bfloat16(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """What ``to_bfloat16`` does, in an instruction of AVX-512-BF16 (to which a subnormal number is zero)."""
    return builder.asm(ir.FunctionType(HALVES, [VECTOR]), 'vcvtneps2bf16 $1, $0', '=v,v', [value], False)
