"""Labels of every runtime and precision, from any thread, stream and mode."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from mmseg_bisenet.benchmark.memory import peak_bytes
from mmseg_bisenet.deploy import load, precision, verify
from mmseg_bisenet.deploy.backends import RUNTIMES
from mmseg_bisenet.deploy.network import DeployNetwork
from mmseg_bisenet.deploy.predictor import Predictor
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.inference import upsample_argmax as labels
from mmseg_bisenet.models.inference.upsample_argmax import reference, upsample_argmax

pytestmark = pytest.mark.gpu

Loaded = Callable[..., Predictor]


@pytest.fixture(scope='module')
def loaded(segmentor, streets, device) -> Loaded:
    """Predictors by runtime and precision; each is loaded once."""
    made: dict[tuple[str, str], Predictor] = {}

    def get(runtime: str, computed_in: str) -> Predictor:
        if not precision.available(computed_in, torch.device(device)):
            pytest.skip(f'no {computed_in} in this machine')
        try:
            RUNTIMES[runtime].require_build(computed_in, torch.device(device))
        except InputError as error:
            pytest.skip(str(error))
        key = runtime, computed_in
        if key not in made:
            made[key] = load(segmentor, None, runtime, computed_in, streets.shape[1:3], device)
        return made[key]

    return get


@pytest.fixture(scope='module')
def compiled(loaded, device) -> Predictor:
    return loaded('compile', 'fp16' if device == 'cuda' else 'fp32')


@pytest.mark.parametrize(
    ('runtime', 'computed_in'),
    [
        ('eager', 'fp32'),
        *[('torch', name) for name in ('fp32', 'fp16', 'bf16')],
        *[('compile', name) for name in ('fp32', 'fp16', 'bf16')],
        *[('pt2', name) for name in ('fp32', 'fp16')],
    ],
)
def test_labels_are_those_of_the_cpu(loaded, segmentor, streets, runtime, computed_in):
    segment = loaded(runtime, computed_in)
    about = dict(output_kind='labels', precision=computed_in)
    _, right = verify.compare(segment, DeployNetwork(segmentor), [streets], about)
    assert right >= verify.NEEDED[computed_in]


def test_fp32_is_not_rounded_to_tf32(segmentor, streets, device):
    with precision.tf32(device == 'cuda'):
        load(segmentor, None, 'torch', 'fp32', streets.shape[1:3], device)
        assert not torch.backends.cudnn.allow_tf32
        images = torch.from_numpy(streets)
        with torch.no_grad():
            expected = DeployNetwork(segmentor)(images)
            logits = DeployNetwork(segmentor).to(device)(images.to(device)).cpu()
    # TF32 has ten bits: its rounding would be ten times as large.
    assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()


def test_tensors_stay_on_their_device(compiled, streets, device):
    images = torch.from_numpy(streets).to(device)
    found = compiled(images)
    assert (found.device.type, found.dtype) == (device, torch.uint8)
    np.testing.assert_array_equal(found.cpu(), compiled(streets))


def test_labels_may_be_kept(compiled, streets):
    first = compiled(streets[0])
    kept = first.copy()
    compiled(streets[1])
    np.testing.assert_array_equal(first, kept)


def test_threads_of_a_server(compiled, streets):
    """Loaded in one thread, called in others, at the same time."""
    expected, found = compiled(streets), []

    def work(index: int) -> None:
        for _ in range(10):
            found.append(np.array_equal(compiled(streets[index]), expected[index]))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(streets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 10 * len(streets)


def test_streams(compiled, streets, cuda):
    images = torch.from_numpy(streets).cuda()
    expected = compiled(images)
    found = []
    for index, image in enumerate(images):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            found.append((index, stream, compiled(image)))
    for index, stream, result in found:
        stream.synchronize()
        assert torch.equal(result, expected[index])


def test_the_inference_mode_of_the_caller(compiled, streets, device):
    """Nothing is compiled again, and nothing recorded."""
    expected, graphs = compiled(streets[0]), torch._dynamo.utils.counters['stats']
    before = graphs['unique_graphs']
    with torch.inference_mode():
        image = torch.from_numpy(streets[0]).to(device).clone()
        assert image.is_inference()
        np.testing.assert_array_equal(compiled(image).cpu(), expected)
    assert graphs['unique_graphs'] == before


def test_the_graph_follows_its_images(compiled, streets, device):
    """A graph that kept the images which it was recorded with would give equal labels for all."""
    each = [compiled(torch.from_numpy(image).to(device)).cpu() for image in streets]
    assert not torch.equal(each[0], each[1])
    assert torch.equal(torch.stack(each), torch.from_numpy(compiled(streets)))


# -- from logits to labels ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('size', [(256, 512), (251, 507), (20, 30)], ids=str)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_labels_from_logits(device, size, align_corners, dtype):
    logits = torch.randint(-3, 4, (2, 19, 32, 64)).to(dtype)
    expected = reference(logits, size, align_corners)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        given = logits.to(device).contiguous(memory_format=memory_format)
        found = upsample_argmax(given, size, align_corners).cpu()
        # Exact where weights are eighths; elsewhere ties fall as they are rounded.
        assert (found == expected).float().mean() >= (1 if size == (256, 512) and not align_corners else 0.9)
        best = torch.nn.functional.interpolate(logits.float(), size, mode='bilinear', align_corners=align_corners)
        lost = best.amax(1) - best.gather(1, found[:, None].long())[:, 0]
        assert lost.max() <= 1e-4
    assert not labels._triton_failed


def test_not_finite_logits(device):
    logits = torch.randn(2, 5, 8, 12)
    logits[0, 3, 2:4, 5], logits[:, 1, 0], logits[1, 4] = float('nan'), float('inf'), -float('inf')
    assert torch.equal(upsample_argmax(logits.to(device), (64, 96)).cpu(), reference(logits, (64, 96)))


def prepare(shape: tuple[int, int]) -> Callable[[], Tensor]:
    logits = torch.randn(1, 19, shape[0] // 8, shape[1] // 8, device='cuda')
    upsample_argmax(logits, shape)
    return lambda: upsample_argmax(logits, shape)


def test_no_upsampled_logits(cuda):
    """One byte a pixel, instead of 76."""
    assert peak_bytes(prepare, (512, 1024), device='cuda') <= 2 * 512 * 1024
