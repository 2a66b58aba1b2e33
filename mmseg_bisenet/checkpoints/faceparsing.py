"""zllrunning/face-parsing.PyTorch, ``model.py``, and facexlib's ``parsing/bisenet.py``, whose files have the same keys.

Both are CoinCheung's early V1 without its spatial path: the ResNet's output at 1/8 takes its place.
"""

from mmseg_bisenet.checkpoints.coincheung import CONTEXT_PATH_AND_HEADS, EARLY_GATE, add_biases
from mmseg_bisenet.checkpoints.layout import Layout

V1 = Layout(
    source='faceparsing',
    network='BiSeNet V1 without a spatial path',
    marks=('cp.resnet.', 'ffm.conv1.', 'conv_out.'),
    rules=(*CONTEXT_PATH_AND_HEADS, *EARLY_GATE),
    configs=('bisenetv1_r18-d32-faceparsing_*', 'bisenetv1_r34-d32-faceparsing_*'),
    adapt=add_biases,
)
LAYOUTS = (V1,)
