"""BiSeNet V1 and V2 for MMSegmentation 1.x.

Importing the package makes the installed OpenMMLab stack usable (:mod:`mmseg_bisenet.compat`). The networks register
themselves when a config first names one.
"""

from mmseg_bisenet import compat

__version__ = '0.1.0'

compat.apply()
