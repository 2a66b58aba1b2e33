"""Importing this has MMEngine log and save configs as they are.

It formats a config with yapf whenever it logs or saves one, ten times in a training: more than half of the time
of the small ones here.
"""

import yapf.yapflib.yapf_api
from mmengine.config import config


def as_it_is(text: str, **options) -> tuple[str, bool]:
    """Takes the place of ``FormatCode``: the text, and whether it has changed."""
    return text, False


yapf.yapflib.yapf_api.FormatCode = config.FormatCode = as_it_is  # it is imported late in one stack, early in the other
