"""``torch.compile`` for the backbone only.

MMEngine's ``compile=True`` compiles the whole training step. That breaks into about thirty graphs, because of its
dicts, its loss and its backward pass. The backbone gives two graphs, forward and backward.
"""

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmseg_bisenet.registry import HOOKS


@HOOKS.register_module()
class CompileHook(Hook):
    """Compile the backbone when training starts. Parameter names and checkpoints do not change.

    Args:
        options: passed to ``torch.compile``, such as ``mode`` or ``backend``.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.backbone.compile(**self.options)
