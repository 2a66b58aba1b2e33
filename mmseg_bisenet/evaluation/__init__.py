"""Scores of a checkpoint, and the files of a test. Importing this package registers the metric and the hook."""

from mmseg_bisenet.evaluation.hook import EvaluationHook
from mmseg_bisenet.evaluation.segmentation_metric import SegmentationMetric

__all__ = ['EvaluationHook', 'SegmentationMetric']
