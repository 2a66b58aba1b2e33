"""Checkpoints of other codebases, turned into ours. One file a layout, and the converter that picks among them."""

from mmseg_bisenet.checkpoints.convert import SOURCES, Converted, convert, detect
from mmseg_bisenet.checkpoints.files import Checkpoint, read, write

__all__ = ['SOURCES', 'Checkpoint', 'Converted', 'convert', 'detect', 'read', 'write']
