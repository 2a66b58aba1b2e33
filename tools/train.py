"""`mmseg-bisenet train` for mim, which looks for it here."""

import sys

from mmseg_bisenet.cli import script

if __name__ == '__main__':
    sys.exit(script('train'))
