"""Optimizer rules for single parameters that combine, and bfloat16 on any device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from mmseg_bisenet.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS

NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ParamwiseConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor and ``paramwise_cfg``, with two deviations.

    - The rules for norms and biases also apply to parameters that ``custom_keys`` names, unless the key sets
      ``decay_mult``. So heads with ten times the learning rate still have no weight decay on their norms. MMEngine
      applies only one rule to a parameter.
    - Parameters with the same settings share a group, which is faster, because an optimizer works group by group.
      MMEngine makes a group for each parameter.
    """

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', is_dcn_module: int | float | None = None
    ) -> None:
        super().add_params(params, module, prefix, is_dcn_module)
        if prefix:  # MMEngine calls this method for every module; the whole model comes last
            return
        decay = dict(self._decay_of_norms_and_biases(module))
        groups: dict[tuple, dict] = {}
        for group in params:
            (parameter,) = group['params']
            if id(parameter) in decay and 'decay_mult' not in group:
                group['weight_decay'] = decay[id(parameter)]
            settings = tuple(sorted((key, value) for key, value in group.items() if key != 'params'))
            groups.setdefault(settings, group | dict(params=[]))['params'].append(parameter)
        params[:] = groups.values()

    def _decay_of_norms_and_biases(self, model: nn.Module) -> Iterator[tuple[int, float]]:
        if self.base_wd is None:
            return
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                rule = 'norm_decay_mult' if isinstance(module, NORMS) else 'bias_decay_mult' if name == 'bias' else None
                if self.paramwise_cfg.get(rule) is not None:
                    yield id(parameter), self.base_wd * self.paramwise_cfg[rule]


def rules_without_effect(paramwise_cfg: dict, model: nn.Module) -> list[str]:
    """The ``custom_keys`` that are part of no parameter's name. MMEngine says nothing about them."""
    names = [name for name, _ in model.named_parameters()]
    return [key for key in paramwise_cfg.get('custom_keys') or () if not any(key in name for name in names)]


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Mixed precision in bfloat16 on any device. It needs no loss scaling.

    Weights, gradients and losses stay in float32. MMEngine's ``AmpOptimWrapper`` does not start without a GPU.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield
