"""Tests by a network that is rewritten for inference."""

from mmengine.hooks import EMAHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models import BiSeNetSegmentor
from mmseg_bisenet.registry import HOOKS


@HOOKS.register_module()
class SwitchToDeployHook(Hook):
    """Call ``switch_to_deploy`` of the segmentor once its weights are loaded, before a test.

    Raises:
        InputError: the model is another one, or an ``EMAHook`` would exchange its weights.
    """

    def before_test(self, runner: Runner) -> None:
        if any(isinstance(hook, EMAHook) for hook in runner.hooks):
            raise InputError(
                'SwitchToDeployHook: EMAHook exchanges weights, which are rewritten; remove it from custom_hooks for a '
                'test, since checkpoints hold the averaged weights already'
            )
        model = runner.model
        while is_model_wrapper(model) or not isinstance(model, BiSeNetSegmentor):  # of processes, and of views
            if not hasattr(model, 'module'):
                raise InputError(
                    f'SwitchToDeployHook: model {type(model).__name__} is no mmseg_bisenet.BiSeNetSegmentor; '
                    'remove the hook from custom_hooks'
                )
            model = model.module
        model.switch_to_deploy()
