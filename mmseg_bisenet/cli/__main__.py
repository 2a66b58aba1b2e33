import sys

from mmseg_bisenet.cli import main

sys.exit(main())
