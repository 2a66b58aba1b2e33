"""Test a network in its form for inference."""

from mmengine.hooks import EMAHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models import BiSeNetSegmentor
from mmseg_bisenet.registry import HOOKS


@HOOKS.register_module()
class SwitchToDeployHook(Hook):
    """Call the segmentor's ``switch_to_deploy`` before a test, after its weights are loaded.

    Raises:
        InputError: the model is no ``BiSeNetSegmentor``, or an ``EMAHook`` would exchange its weights.
    """

    def before_test(self, runner: Runner) -> None:
        if any(isinstance(hook, EMAHook) for hook in runner.hooks):
            raise InputError(
                'SwitchToDeployHook: EMAHook exchanges weights that no longer exist; remove EMAHook from custom_hooks '
                'for the test, checkpoints hold the averaged weights already'
            )
        model = runner.model
        while is_model_wrapper(model) or not isinstance(model, BiSeNetSegmentor):  # wrappers for processes and for TTA
            if not hasattr(model, 'module'):
                raise InputError(
                    f'SwitchToDeployHook: the model {type(model).__name__} is no mmseg_bisenet.BiSeNetSegmentor; '
                    'remove the hook from custom_hooks'
                )
            model = model.module
        model.switch_to_deploy()
