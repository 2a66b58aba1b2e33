"""``torch.compile`` where it pays: the backbone.

MMEngine's ``compile=True`` compiles the whole training step, which breaks into some thirty graphs at its dicts, its
loss and its backward pass. The backbone is two graphs, forward and backward.
"""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmseg_bisenet.registry import HOOKS


@HOOKS.register_module()
class CompileHook(Hook):
    """Compile the backbone when training starts. Names of parameters, and so checkpoints, stay as they are.

    Args:
        options: those of ``torch.compile``, such as ``mode`` or ``backend``.
    """

    def __init__(self, **options) -> None:
        self.options = options

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.backbone.compile(**self.options)
