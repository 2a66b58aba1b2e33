import sys

from mmseg_bisenet.cli import script

sys.exit(script())
