"""`mmseg-bisenet demo` where mim looks for it."""

import sys

from mmseg_bisenet.cli import script

if __name__ == '__main__':
    sys.exit(script('demo'))
