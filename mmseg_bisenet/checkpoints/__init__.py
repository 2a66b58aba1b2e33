"""Converts checkpoints of other codebases. One file for each codebase's layout, and the converter."""

from mmseg_bisenet.checkpoints.convert import SOURCES, Converted, convert, detect
from mmseg_bisenet.checkpoints.files import Checkpoint, read, write

__all__ = ['SOURCES', 'Checkpoint', 'Converted', 'convert', 'detect', 'read', 'write']
