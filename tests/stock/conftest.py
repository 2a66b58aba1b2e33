"""What stock's unit tests assert about its BiSeNet, asserted of ours, on smaller images.

docs/differences.md lists what does not hold.
"""

import importlib
from collections.abc import Iterator

import pytest
from mmseg.registry import MODELS


@pytest.fixture(scope='module', autouse=True)
def dropin() -> Iterator[None]:
    """Stock's names are our backbones, until the tests of the file have run."""
    import mmseg.models  # noqa: F401

    stock = {name: MODELS.module_dict[name] for name in ('BiSeNetV1', 'BiSeNetV2')}
    importlib.reload(importlib.import_module('mmseg_bisenet.dropin'))  # it may have been imported before
    yield
    for name, module in stock.items():
        MODELS.register_module(name, force=True, module=module)
