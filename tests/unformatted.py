"""Configs are logged and saved as they are. To be imported before MMEngine.

MMEngine formats a config with yapf whenever it logs or saves one, ten times in a training: more than half of the time
of the small ones here.
"""

import yapf.yapflib.yapf_api


def as_it_is(text: str, **options) -> tuple[str, bool]:
    """Takes the place of ``FormatCode``: the text, and whether it has changed."""
    return text, False


yapf.yapflib.yapf_api.FormatCode = as_it_is
