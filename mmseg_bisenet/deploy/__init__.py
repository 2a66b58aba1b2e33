"""From a trained network to labels, fast: one function over several runtimes, and files for them.

from mmseg_bisenet.deploy import load

segment = load('bisenetv2_camvid', runtime='torch', precision='bf16')
labels = segment(cv2.imread('street.png'))  # (512, 1024) uint8
"""

from typing import TYPE_CHECKING, Any

from mmseg_bisenet import install

if TYPE_CHECKING:
    from mmseg_bisenet.deploy.loading import load

__all__ = ['load']


def __getattr__(name: str) -> Any:
    if name != 'load':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    with install.needing('run', 'deploy.load'):
        from mmseg_bisenet.deploy.loading import load

    return load
