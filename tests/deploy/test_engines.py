"""Engines of compiled networks; and TensorRT's, with a stand-in for TensorRT."""

import ctypes
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

import mmseg_bisenet
from mmseg_bisenet.deploy import cuda_graph
from mmseg_bisenet.deploy.backends import FORMATS, Exported, tensorrt
from mmseg_bisenet.deploy.backends import compile as backend
from mmseg_bisenet.deploy.backends.base import Engine
from mmseg_bisenet.deploy.backends.compile import Compile, compiled, require_compiler
from mmseg_bisenet.deploy.backends.torch import Torch
from mmseg_bisenet.deploy.network import DeployNetwork
from mmseg_bisenet.errors import InputError

CONFIG = 'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024'
CPU = torch.device('cpu')


# -- PyTorch -----------------------------------------------------------------------------------------------------------


class Tiny(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((3,), factor), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        return images.float() * self.factor

    def logits(self, pixels: Tensor) -> Tensor:
        return self(pixels[..., :3])


@pytest.fixture
def needs_compiler() -> None:
    try:
        require_compiler()
    except InputError as error:
        pytest.skip(str(error))


def test_each_network_of_a_process_is_compiled(needs_compiler):
    """Networks share the code of their class, and Dynamo leaves what it has seen too often as it is."""
    torch._dynamo.reset()
    graphs = torch._dynamo.utils.counters['stats']
    before = graphs['unique_graphs']
    images = torch.full((1, 4, 4, 3), 3, dtype=torch.uint8)
    with torch._dynamo.config.patch(recompile_limit=2):
        runs = [compiled(Tiny(float(factor)), (4, 4), CPU) for factor in range(4)]
    assert graphs['unique_graphs'] - before == 4
    with torch.inference_mode(), torch.compiler.set_stance('fail_on_recompile'):
        assert [run(images).unique().item() for run in runs] == [0, 3, 6, 9]


def test_the_inference_mode_of_a_caller_compiles_nothing_again(needs_compiler):
    """Dynamo compiles again for tensors that were made in inference mode, and would not freeze the weights then."""
    graphs = torch._dynamo.utils.counters['stats']
    run = compiled(Tiny(2.0), (4, 6), CPU)
    before = graphs['unique_graphs']
    with torch.inference_mode():
        images = torch.full((1, 4, 6, 3), 3, dtype=torch.uint8)
        assert images.is_inference()
        assert run(images).unique().item() == 6
        assert compiled(Tiny(3.0), (4, 6), CPU)(images).unique().item() == 9
    assert graphs['unique_graphs'] - before == 1


def test_on_cuda_network_and_labels_are_one_graph(monkeypatch):
    """The graph is that of test_cuda_graph.py; here nothing is compiled or recorded."""
    network = Tiny(1.0)
    monkeypatch.setattr(Torch, 'build', lambda *_: network)
    monkeypatch.setattr(backend, 'compiled', lambda network, shape, device: lambda x: network(x).permute(0, 3, 1, 2))
    monkeypatch.setattr(cuda_graph, 'CudaGraph', lambda function, images: (function, images))
    segmentor = SimpleNamespace(align_corners=True)
    function, images = Compile().build(segmentor, 'fp16', (4, 6), torch.device('meta'), ())
    assert (images.shape, images.dtype, images.device.type) == ((1, 4, 6, 3), torch.uint8, 'meta')
    images = torch.randint(0, 256, (1, 4, 6, 3), dtype=torch.uint8)
    assert torch.equal(function(images), images.argmax(-1).to(torch.uint8))


@pytest.mark.parametrize(('device', 'expected'), [('cpu', {}), ('cuda', {}), ('cuda:1', dict(device_index=1))])
def test_a_package_is_loaded_on_its_gpu(monkeypatch, device, expected):
    given = []
    monkeypatch.setattr(torch._inductor, 'aoti_load_package', lambda path, **others: given.append((path, others)))
    FORMATS['pt2'].open(Exported(FORMATS['pt2'], Path('a.pt2'), {}), torch.device(device))
    assert given == [('a.pt2', expected)]


def test_a_preprocessor_that_pads_is_refused():
    segmentor = mmseg_bisenet.get_model(CONFIG)
    for padding in (dict(size_divisor=64), dict(size=(128, 128))):
        segmentor.data_preprocessor.test_cfg = padding
        with pytest.raises(InputError) as refusal:
            DeployNetwork(segmentor)
        assert str(refusal.value) == (
            f'model.data_preprocessor.test_cfg={padding}: a deployed network does not pad images; '
            'set it to None, and give images of that size'
        )
    segmentor.data_preprocessor.test_cfg = None
    DeployNetwork(segmentor)


# -- TensorRT ----------------------------------------------------------------------------------------------------------


class FakeEngine:
    """Takes images of up to ``most`` pixels a side; its labels are 7."""

    def __init__(self, most: int, works: bool = True) -> None:
        self.most, self.works = most, works

    def get_tensor_dtype(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name='UINT8')

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        assert (name, profile) == ('images', 0)
        return [(1, 64, 64, 3), (1, 96, 96, 3), (8, self.most, self.most, 3)]

    def create_execution_context(self) -> 'FakeEngine':
        return self

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape[:3]
        return max(shape) <= self.most

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    def set_tensor_address(self, name: str, address: int) -> None:
        self.address = address

    def execute_async_v3(self, stream: int) -> bool:
        if self.works:
            ctypes.memset(self.address, 7, torch.Size(self.shape).numel())
        return self.works


@pytest.fixture
def places(monkeypatch) -> list[str]:
    """The devices that were made current, in order; streams are there without a GPU."""
    made = []

    @contextmanager
    def device(given: torch.device | None):
        made.append(str(given))
        yield

    stream = SimpleNamespace(cuda_stream=0, wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, 'device', device)
    monkeypatch.setattr(torch.cuda, 'Stream', lambda: stream)
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda: stream)
    return made


def opened(monkeypatch, tmp_path, engine: FakeEngine, device: str = 'cuda') -> Engine:
    runtime = SimpleNamespace(deserialize_cuda_engine=lambda content: engine)
    logger = type('Logger', (), dict(ERROR=1, __init__=lambda self, level: None))
    trt = SimpleNamespace(__version__='11.0', Logger=logger, Runtime=lambda logger: runtime)
    monkeypatch.setattr(tensorrt, 'require_packages', lambda *_: (trt,))
    path = tmp_path / 'v2.engine'
    path.touch()
    backend = FORMATS['tensorrt']
    return backend.open(Exported(backend, path, dict(output_kind='labels')), torch.device(device))


def test_tensorrt_runs_on_the_gpu_of_its_images(monkeypatch, tmp_path, places):
    run = opened(monkeypatch, tmp_path, FakeEngine(128), 'cuda:1')
    assert places == ['cuda:1']
    labels = run(torch.zeros(2, 64, 96, 3, dtype=torch.uint8))
    assert torch.equal(labels, torch.full((2, 64, 96), 7, dtype=torch.uint8))
    assert places == ['cuda:1', 'cpu']


def test_tensorrt_refuses_a_shape(monkeypatch, tmp_path, places):
    run = opened(monkeypatch, tmp_path, FakeEngine(128))
    with pytest.raises(InputError) as refusal:
        run(torch.zeros(1, 64, 130, 3, dtype=torch.uint8))
    assert str(refusal.value) == (
        f'images of shape (1, 64, 130, 3): {tmp_path}/v2.engine takes (1, 64, 64, 3) to (8, 128, 128, 3); export with '
        '--dynamic and a larger --shape'
    )


def test_tensorrt_fails_to_run(monkeypatch, tmp_path, places):
    run = opened(monkeypatch, tmp_path, FakeEngine(128, works=False))
    with pytest.raises(InputError, match=r'images of shape \(1, 64, 64, 3\): TensorRT 11.0 cannot run .*free memory'):
        run(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))


@pytest.mark.parametrize(
    ('flags', 'operators', 'cleared'),
    [(['TF32'], ['Conv'], ['TF32']), (['TF32'], ['QuantizeLinear', 'Conv'], []), ([], ['Conv'], [])],
)
def test_fp32_is_built_without_tf32(monkeypatch, flags, operators, cleared):
    found = []
    config = SimpleNamespace(clear_flag=found.append)
    builder = SimpleNamespace(
        create_network=lambda flags: None,
        create_builder_config=lambda: config,
        build_serialized_network=lambda network, config: b'engine',
    )
    trt = SimpleNamespace(
        Logger=type('Logger', (), dict(ERROR=1, __init__=lambda self, level: None)),
        Builder=lambda logger: builder,
        BuilderFlag=SimpleNamespace(**{name: name for name in flags}),
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
        OnnxParser=lambda network, logger: SimpleNamespace(parse=lambda content: True),
    )
    monkeypatch.setattr(tensorrt, 'require_packages', lambda *_: (trt,))
    nodes = [SimpleNamespace(op_type=operator) for operator in operators]
    model = SimpleNamespace(graph=SimpleNamespace(node=nodes), SerializeToString=lambda: b'')
    assert tensorrt.build_engine(model, (64, 64), dynamic=False) == b'engine'
    assert found == cleared
