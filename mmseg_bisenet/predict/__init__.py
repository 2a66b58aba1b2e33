"""From a camera, a video or files to labels: sources of frames, a predictor, and what is made of its results.

    reader ─► queue ─► network and labels ─► queue ─► drawing and writing

``Predictor`` is the class for users, with results that draw and save themselves. It wraps the callable that
:func:`mmseg_bisenet.deploy.load` returns, which takes arrays of the network's own size and gives labels only.
"""

from mmseg_bisenet.predict.predictor import Predictor
from mmseg_bisenet.predict.result import Result

__all__ = ['Predictor', 'Result']
