"""miniscapes: drawn street scenes in the layout of Cityscapes, made from a seed, nothing to download.

The ten classes that a street has nearly everywhere are drawn; what else stands there (a litter bin, one's own bonnet)
is void. A cyclist is labelled person, as there is no rider among the ten.
"""

from mmseg_bisenet.miniscapes.classes import CLASSES
from mmseg_bisenet.miniscapes.scene import draw_scene
from mmseg_bisenet.miniscapes.write import write_miniscapes

__all__ = ['CLASSES', 'draw_scene', 'write_miniscapes']
