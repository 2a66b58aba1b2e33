"""Before an evaluation in several processes, all have the running means that the first one saves."""

import torch
from mmengine import dist
from torch import nn

from mmseg_bisenet.engine.train_loop import share_buffers


def test_all_take_those_of_the_first(monkeypatch):
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(3))
    weight = network[1].weight.detach().clone()
    share_buffers(network)  # in one process, nothing is sent
    monkeypatch.setattr(dist, 'get_world_size', lambda: 2)
    monkeypatch.setattr(dist, 'broadcast', lambda tensor: tensor.fill_(7))
    share_buffers(network)
    assert all((buffer == 7).all() for buffer in network.buffers()) and len(list(network.buffers())) == 6
    torch.testing.assert_close(network[1].weight, weight, rtol=0, atol=0)
