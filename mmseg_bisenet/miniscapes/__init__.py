"""miniscapes: synthetic street scenes in the layout of Cityscapes, drawn from a seed. Nothing is downloaded.

The ten most common classes of a street are drawn. Everything else (litter bins, the bonnet of the own car) is void. A
cyclist is labelled person, because rider is not one of the ten.
"""

from mmseg_bisenet.miniscapes.classes import CLASSES
from mmseg_bisenet.miniscapes.scene import draw_scene
from mmseg_bisenet.miniscapes.write import write_miniscapes

__all__ = ['CLASSES', 'draw_scene', 'write_miniscapes']
