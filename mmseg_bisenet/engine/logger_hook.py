"""MMEngine's ``LoggerHook``. Deviation: only the main process writes the scores of a test.

In stock, every process writes the same file.
"""

from mmengine.dist import master_only
from mmengine.hooks import LoggerHook
from mmengine.runner import Runner

from mmseg_bisenet.registry import HOOKS


@HOOKS.register_module()
class MainLoggerHook(LoggerHook):
    """The stock hook with the stock arguments."""

    @master_only
    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        super().after_test_epoch(runner, metrics)
