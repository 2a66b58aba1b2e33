"""Training: a loop that resumes exactly, hooks and optimizers. Importing this package registers them."""

from mmseg_bisenet.engine.checkpoint_hook import AtomicCheckpointHook
from mmseg_bisenet.engine.compile_hook import CompileHook
from mmseg_bisenet.engine.curves_hook import CurvesHook
from mmseg_bisenet.engine.deploy_hook import SwitchToDeployHook
from mmseg_bisenet.engine.logger_hook import MainLoggerHook
from mmseg_bisenet.engine.nonfinite_loss_hook import NonFiniteLossHook
from mmseg_bisenet.engine.optim import BFloat16OptimWrapper, ParamwiseConstructor
from mmseg_bisenet.engine.pictures_hook import ValidationPicturesHook
from mmseg_bisenet.engine.sampler import ResumableSampler
from mmseg_bisenet.engine.train_loop import ResumableTrainLoop

__all__ = [
    'AtomicCheckpointHook',
    'BFloat16OptimWrapper',
    'CompileHook',
    'CurvesHook',
    'MainLoggerHook',
    'NonFiniteLossHook',
    'ParamwiseConstructor',
    'ResumableSampler',
    'ResumableTrainLoop',
    'SwitchToDeployHook',
    'ValidationPicturesHook',
]
