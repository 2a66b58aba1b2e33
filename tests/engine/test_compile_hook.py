"""A compiled backbone has the gradients of an eager one."""

from types import SimpleNamespace

import torch
from base import build
from models.test_segmentor import batch, read

from mmseg_bisenet.engine import CompileHook


def test_gradients_are_those_of_the_eager_network(configs):
    """In float64. The backend does not generate machine code, which would take minutes."""
    cfg = read(str(configs / 'bisenetv2/bisenetv2_fcn_1xb8-400it_miniscapes-128x256.py'), (64, 96)).model
    eager, compiled = build(cfg).double(), build(cfg).double()
    compiled.load_state_dict(eager.state_dict())
    CompileHook(backend='aot_eager').before_train(SimpleNamespace(model=compiled))
    results = []
    for network in (eager, compiled):
        torch.manual_seed(0)  # dropout in the heads
        data = network.train().data_preprocessor(batch((64, 96), 19), training=True)
        losses = network(**data | dict(inputs=data['inputs'].double()), mode='loss')
        total = network.parse_losses(losses)[0]
        total.backward()
        results.append((total, {name: parameter.grad for name, parameter in network.named_parameters()}))
    assert compiled.backbone._compiled_call_impl is not None
    assert eager.state_dict().keys() == compiled.state_dict().keys()
    torch.testing.assert_close(results[1], results[0], rtol=1e-7, atol=1e-10)
