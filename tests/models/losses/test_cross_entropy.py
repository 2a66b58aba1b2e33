import math
import operator
import sys

import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from processes import CONTEXT
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from mmseg_bisenet import openmp
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models import losses as losses_package
from mmseg_bisenet.models.losses import pixel_cross_entropy as strips
from mmseg_bisenet.models.losses.cross_entropy import _kth_largest, ohem_cross_entropy
from mmseg_bisenet.models.losses.pixel_cross_entropy import pixel_cross_entropy

IGNORE = 255


def batch(seed: int = 0, confident: float = 3.0, classes: int = 5) -> tuple[Tensor, Tensor]:
    """Random logits that lean towards the label, and labels with some ignored pixels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (2, 16, 24), generator=generator)
    logits = torch.randn(2, classes, 16, 24, generator=generator)
    logits += confident * F.one_hot(labels, classes).permute(0, 3, 1, 2)
    labels[torch.rand(labels.shape, generator=generator) < 0.1] = IGNORE
    return logits.requires_grad_(), labels


def reference(logits: Tensor, labels: Tensor, threshold: float = 0.7, min_kept_fraction: float = 1 / 16) -> Tensor:
    """The definition, pixel by pixel, with sorting."""
    probability = logits.detach().softmax(1)
    losses = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction='none')
    pixels = []
    for n, y, x in (labels != IGNORE).nonzero().tolist():
        pixels.append((probability[n, labels[n, y, x], y, x].item(), losses[n, y, x]))
    pixels.sort(key=lambda pixel: pixel[0])
    kept = [loss for true_class, loss in pixels if true_class < threshold]
    kept = kept if len(kept) >= int(len(pixels) * min_kept_fraction) else None
    return torch.stack(kept or [loss for _, loss in pixels[: int(len(pixels) * min_kept_fraction)]]).mean()


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(loss, logits)[0]


def test_a_threshold_of_one_is_cross_entropy():
    logits, labels = batch()
    mined, plain = ohem_cross_entropy(logits, labels, threshold=1.0), F.cross_entropy(logits, labels, ignore_index=255)
    torch.testing.assert_close(mined, plain)
    torch.testing.assert_close(gradient(mined, logits), gradient(plain, logits))


@pytest.mark.parametrize(
    ('confident', 'share'),
    [(1.0, 1 / 16), (3.0, 1 / 16), (9.0, 1 / 16), (9.0, 0.5)],
    ids=['mostly hard', 'some hard', 'hardly any hard', 'half kept'],
)
@pytest.mark.parametrize('seed', range(3))
def test_equals_the_reference(confident, share, seed):
    logits, labels = batch(seed, confident)
    mined, expected = (loss(logits, labels, 0.7, share) for loss in (ohem_cross_entropy, reference))
    torch.testing.assert_close(mined, expected)
    torch.testing.assert_close(gradient(mined, logits), gradient(expected, logits))


def test_all_pixels_ignored_is_zero():
    logits, labels = batch()
    loss = ohem_cross_entropy(logits, torch.full_like(labels, IGNORE))
    assert loss.item() == 0
    assert gradient(loss, logits).abs().max() == 0


def test_a_network_that_diverged_is_seen():
    logits, labels = batch()
    logits = logits.detach()
    logits[0, 1, 3, 4] = torch.nan
    assert ohem_cross_entropy(logits, labels.clamp(max=4)).isnan()


@pytest.mark.parametrize('change', [dict(threshold=0), dict(threshold=1.5), dict(min_kept_fraction=-1)])
def test_wrong_shares_are_named(change):
    with pytest.raises(InputError, match=next(iter(change))):
        MODELS.build(dict(type='mmseg_bisenet.OHEMCrossEntropyLoss') | change)


def test_half_precision_logits_are_computed_in_float():
    logits, labels = batch()
    half = logits.detach().half().requires_grad_()
    loss = ohem_cross_entropy(half, labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, ohem_cross_entropy(half.float(), labels))
    assert gradient(loss, half).dtype == torch.float16


@pytest.mark.parametrize('count', [3, 6])
@pytest.mark.parametrize('kind', ['CrossEntropyLoss', 'OHEMCrossEntropyLoss'])
def test_another_number_of_class_weights(kind, count):
    logits, labels = torch.randn(1, 5, 2, 2), torch.zeros(1, 4, 4, dtype=torch.int64)
    loss = MODELS.build(dict(type=f'mmseg_bisenet.{kind}', class_weight=[1.0] * count))
    said = f'^class_weight has {count} numbers, and the logits have 5 classes; give one for each class$'
    with pytest.raises(InputError, match=said):
        loss(logits, labels)
    with pytest.raises(InputError, match=said):
        ohem_cross_entropy(logits, labels, class_weight=torch.ones(count))


@pytest.mark.parametrize('options', [dict(threshold=0), dict(min_kept_fraction=2)])
def test_shares_that_cannot_be(options):
    with pytest.raises(
        InputError, match=r'^ohem_cross_entropy: threshold=\S+ must be above 0 and at most 1, and min_kept'
    ):
        ohem_cross_entropy(torch.randn(1, 5, 2, 2), torch.zeros(1, 4, 4, dtype=torch.int64), **options)


def test_labels_that_are_no_integers():
    with pytest.raises(InputError, match=r'^labels are torch.float32; give ids of classes in an integer type$'):
        ohem_cross_entropy(torch.randn(1, 5, 2, 2), torch.zeros(1, 4, 4))


def test_class_weights_are_those_of_cross_entropy():
    logits, labels = batch()
    weight = torch.tensor([0.0, 1.0, 2.0, 0.5, 30.0])
    weighted = ohem_cross_entropy(logits, labels, threshold=1.0, class_weight=weight)
    expected = F.cross_entropy(logits, labels, weight, ignore_index=IGNORE)
    torch.testing.assert_close(weighted, expected)
    torch.testing.assert_close(gradient(weighted, logits), gradient(expected, logits))


@pytest.mark.parametrize('values', [torch.rand(1000), torch.randint(0, 5, (1000,)) / 4, torch.rand(1000) * 1e-38])
def test_selection_without_sorting(values):
    descending = values.sort(descending=True).values
    for k in (1, 2, 17, 499, 999, 1000):
        assert _kth_largest(values, torch.tensor(k)) == descending[k - 1]
    assert _kth_largest(values, torch.tensor(0)) == math.inf


@pytest.mark.parametrize('kind', ['CrossEntropyLoss', 'OHEMCrossEntropyLoss'])
@pytest.mark.parametrize(
    'options', [dict(loss_weight=value) for value in (-1, math.nan, math.inf, '1')] + [dict(class_weight=[1, -1])]
)
def test_weights_that_cannot_be(kind, options):
    (name,) = options
    with pytest.raises(InputError, match=rf'^{kind}: {name} is .*; give (a number|numbers), 0 or more$'):
        MODELS.build(dict(type=f'mmseg_bisenet.{kind}', **options))


def test_the_registered_loss():
    logits, labels = batch()
    loss = MODELS.build(dict(type='mmseg_bisenet.OHEMCrossEntropyLoss', loss_weight=0.4, class_weight=[1, 2, 3, 4, 5]))
    expected = 0.4 * ohem_cross_entropy(logits, labels, class_weight=torch.tensor([1, 2, 3, 4, 5]))
    torch.testing.assert_close(loss(logits, labels, ignore_index=IGNORE), expected)
    assert loss.state_dict() == {}  # a checkpoint does not depend on the loss
    with pytest.raises(ValueError, match='remove `sampler`'):
        loss(logits, labels, weight=torch.ones_like(labels))


@pytest.fixture(params=['cpu', 'cuda'])
def device(request, monkeypatch) -> str:
    """Whose strips are used, instead of Numba: those of CUDA span images."""
    monkeypatch.setattr(strips, '_kernels', lambda: None)
    shape, device = strips._strip_shape, torch.device(request.param)
    monkeypatch.setattr(strips, '_strip_shape', lambda images, row, _: shape(images, row, device))
    return request.param


SIZES = [((8, 12), (64, 96)), ((7, 9), (50, 71)), ((8, 12), (8, 12)), ((1, 1), (5, 3)), ((9, 8), (3, 5))]


@pytest.mark.parametrize(('small', 'size'), SIZES, ids=str)
@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('strip', [1, 1000, 10**9])
def test_pixels_of_logits_that_were_never_upsampled(small, size, align_corners, strip, device, monkeypatch):
    """Losses, gradients and accuracy equal those of the full map, for any size of strips."""
    monkeypatch.setattr(strips, f'STRIP_{"CPU" if device == "cpu" else "GPU"}', strip)
    logits = torch.randn(2, 5, *small, requires_grad=True)
    labels = torch.randint(0, 5, (2, *size))
    labels[:, 0, 0] = IGNORE
    weight = torch.rand(2, *size)  # any gradient from above

    full = F.interpolate(logits, size, mode='bilinear', align_corners=align_corners)
    expected = F.cross_entropy(full, labels, ignore_index=IGNORE, reduction='none')
    losses, hits = pixel_cross_entropy(logits, labels, align_corners, IGNORE)
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(hits, full.argmax(1) == labels)
    torch.testing.assert_close(
        gradient((losses * weight).sum(), logits), gradient((expected * weight).sum(), logits), rtol=1e-5, atol=1e-5
    )


@pytest.fixture(params=['Numba', 'strips'])
def implementation(request, monkeypatch) -> None:
    if request.param == 'strips':
        monkeypatch.setattr(strips, '_kernels', lambda: None)
    else:
        assert strips._kernels() is not None


# Bands of 8 rows and tiles of 128 columns, several of them and parts.
@pytest.mark.parametrize(('small', 'size'), [*SIZES, ((19, 9), (41, 300)), ((17, 130), (5, 129))], ids=str)
@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('classes', [1, 5, 33])
def test_numba_computes_what_float64_does(small, size, align_corners, classes):
    logits, labels = 3 * torch.randn(3, classes, *small), torch.randint(0, classes, (3, *size))
    labels[torch.rand(labels.shape) < 0.1] = -7
    logits[0, 0] += 200  # sure, and here and there wrong
    logits.requires_grad_()
    weight = torch.rand(3, *size) - 0.5
    losses, hits = pixel_cross_entropy(logits, labels, align_corners, -7)
    expected, same = pixel_cross_entropy(logits.double(), labels, align_corners, -7)
    torch.testing.assert_close(losses, expected.float(), rtol=1e-5, atol=1e-4)  # positions are float32
    assert (hits != same).sum() <= 1  # at a tie
    gradients = [gradient((each * weight).sum(), logits) for each in (losses, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-4)


def test_threads_do_not_change_the_losses(monkeypatch):
    """Nor their number, nor an OpenMP without threads that can be used."""
    logits, labels = torch.randn(3, 5, 20, 9, requires_grad=True), torch.randint(0, 5, (3, 40, 30))
    results = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 7):
            torch.set_num_threads(count)
            losses, _ = pixel_cross_entropy(logits, labels)
            results.append((losses, gradient(losses.sum(), logits)))
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setattr(openmp, 'parallel', lambda: None)
    losses, _ = pixel_cross_entropy(logits, labels)
    results.append((losses, gradient(losses.sum(), logits)))
    for each in results[1:]:
        assert torch.equal(each[0], results[0][0])
        assert torch.equal(each[1], results[0][1])


@pytest.mark.parametrize(('value', 'place'), [(torch.inf, 1), (-torch.inf, 1), (-torch.inf, 2), (torch.nan, 1)])
def test_logits_that_are_not_finite_give_what_pytorch_gives(value, place):
    logits, labels = torch.zeros(2, 3, 4, 4), torch.full((2, 4, 4), 2)
    logits[0, place, 1, 2] = value
    losses, hits = pixel_cross_entropy(logits, labels)
    expected = F.cross_entropy(logits, labels, reduction='none')
    # Interpolation gives the pixels around it some of it, with a weight of zero.
    assert torch.equal(losses[0, 1, 2].isfinite(), expected[0, 1, 2].isfinite())
    assert torch.equal(losses[0, 1, 2].isnan(), expected[0, 1, 2].isnan())
    torch.testing.assert_close(losses[1], expected[1])
    assert hits[0, 1, 2] == (value == -torch.inf and place == 1)


@pytest.mark.parametrize('wrong', [3, -1, 2**32])
def test_a_label_that_is_no_class_is_an_error(wrong, implementation):
    labels = torch.zeros(2, 4, 200, dtype=torch.int64)
    labels[1, 3, 199] = wrong
    with pytest.raises(IndexError):
        pixel_cross_entropy(torch.randn(2, 3, 2, 50), labels)


def test_labels_of_other_images_are_refused(implementation):
    with pytest.raises((ValueError, RuntimeError)):
        pixel_cross_entropy(torch.randn(2, 3, 2, 5), torch.zeros(1, 4, 10, dtype=torch.int64))


def test_without_numba_there_are_strips(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmseg_bisenet.models.losses.pixel_cross_entropy_numba', None)
    monkeypatch.delattr(losses_package, 'pixel_cross_entropy_numba', raising=False)
    assert strips._kernels.__wrapped__() is None


def operators(images: int) -> int:
    """How many operators PyTorch runs for the loss of some images, forward and backward."""
    logits, labels = torch.randn(images, 5, 8, 12, requires_grad=True), torch.randint(0, 5, (images, 64, 96))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        pixel_cross_entropy(logits, labels)[0].mean().backward()
    return sum(event.count for event in profile.key_averages() if event.key.startswith('aten::'))


def test_launches_do_not_grow_with_the_batch_on_a_gpu(device):
    """There the host takes longer to launch the kernels of a strip than they run."""
    operators(1)  # the first run has some more
    one, eight = operators(1), operators(8)
    assert eight < 1.1 * one if device == 'cuda' else eight > 6 * one


@pytest.mark.parametrize('align_corners', [False, True])
def test_gradients_are_those_of_the_function(align_corners):
    logits = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, IGNORE]).repeat(2, 7, 3)
    assert torch.autograd.gradcheck(lambda x: pixel_cross_entropy(x, labels, align_corners)[0], logits)


def test_what_waits_for_the_backward_pass():
    """One number per pixel, and masks: less than one of the 19 upsampled maps that stock stores."""
    saved = []
    logits, labels = torch.randn(1, 19, 16, 16, requires_grad=True), torch.randint(0, 19, (1, 128, 128))
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        ohem_cross_entropy(logits, labels)
    tensors = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in saved}
    del tensors[labels.untyped_storage().data_ptr()], tensors[logits.untyped_storage().data_ptr()]
    assert sum(tensors.values()) <= 4 * labels.numel()


@pytest.mark.parametrize('avg_non_ignore', [False, True])
def test_cross_entropy_is_stocks(avg_non_ignore):
    options = dict(loss_weight=0.4, avg_non_ignore=avg_non_ignore)
    logits, labels = batch()
    ours, stock = (
        MODELS.build(dict(type=name, **options)) for name in ('mmseg_bisenet.CrossEntropyLoss', 'CrossEntropyLoss')
    )
    losses = [loss(logits, labels, ignore_index=IGNORE) for loss in (ours, stock)]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(gradient(loss, logits) for loss in losses))
    assert ours.loss_name == stock.loss_name


def test_weighted_cross_entropy_is_pytorchs():
    """Stock looks up the weight of the ignored label, which does not exist."""
    weight = [0.5, 1.0, 2.0, 0.1, 3.0]
    logits, labels = batch()
    loss = MODELS.build(dict(type='mmseg_bisenet.CrossEntropyLoss', class_weight=weight))(logits, labels)
    expected = F.cross_entropy(logits, labels, torch.tensor(weight), ignore_index=IGNORE)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient(loss, logits), gradient(expected, logits))


@pytest.mark.parametrize('name', ['OHEMCrossEntropyLoss', 'CrossEntropyLoss'])
def test_nothing_to_learn_from_is_zero(name):
    logits, labels = batch()
    for options in ({}, dict(class_weight=[1.0] * 5)):
        loss = MODELS.build(dict(type=f'mmseg_bisenet.{name}', **options))(logits, torch.full_like(labels, IGNORE))
        assert loss.item() == 0
        assert gradient(loss, logits).abs().max() == 0


def test_the_host_never_asks_for_a_value():
    """Fake tensors have no values: fetching one from the device raises."""
    with FakeTensorMode():
        logits, labels = torch.randn(2, 5, 8, 12, requires_grad=True), torch.randint(0, 5, (2, 64, 96))
        loss = ohem_cross_entropy(logits, labels, class_weight=torch.ones(5))
        assert gradient(loss, logits).shape == logits.shape
        with pytest.raises(DataDependentOutputException):
            loss.item()


@pytest.mark.parametrize(('key', 'only', 'other'), [('use_sigmoid', False, True), ('reduction', 'mean', 'sum')])
def test_options_that_stock_heads_set(key, only, other):
    logits, labels = batch()
    loss = MODELS.build({'type': 'mmseg_bisenet.CrossEntropyLoss', key: only})
    assert torch.equal(loss(logits, labels), MODELS.build(dict(type='mmseg_bisenet.CrossEntropyLoss'))(logits, labels))
    with pytest.raises(InputError, match=rf'^CrossEntropyLoss: {key} is {other!r}; remove it, or take mmseg.CrossEn'):
        MODELS.build({'type': 'mmseg_bisenet.CrossEntropyLoss', key: other})


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_under_autocast_it_is_computed_in_float(dtype):
    logits, labels = torch.randn(2, 5, 8, 12), torch.randint(0, 5, (2, 64, 96))
    half = logits.to(dtype).requires_grad_()
    with torch.autocast('cpu', dtype):
        loss = ohem_cross_entropy(half, labels)
    whole = half.detach().float().requires_grad_()
    expected = ohem_cross_entropy(whole, labels)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)
    assert torch.equal(gradient(loss, half), gradient(expected, whole).to(dtype))


def test_compiled_graphs_leave_it_out_and_others_do_not_import_torchdynamo():
    with CONTEXT.Pool(1) as pool:  # where the networks, the data and the engine are imported, and nothing else
        assert 'torch._dynamo' not in pool.apply(imported)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return pixel_cross_entropy(logits + 1, labels)[0].mean()

    compiled = set()

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> torch.fx.GraphModule:
        compiled.update(node.target for node in graph.graph.nodes if node.op.startswith('call'))
        return graph

    logits, labels = batch()
    assert torch.equal(torch.compile(loss, backend=backend)(logits, labels), loss(logits, labels))
    assert compiled == {operator.add, 'contiguous', 'mean'}


def imported() -> list[str]:
    return list(sys.modules)
