"""Benchmarks of training, evaluation and the parts of both; run from the repository root, not part of the wheel.

Each script is a command, ``python -m benchmarks.NAME``. ``python -m benchmarks.tables`` writes the tables of the
documentation from the CSV files in ``results``.
"""

import mmseg_bisenet  # noqa: F401, fixes the stack before a script imports it
