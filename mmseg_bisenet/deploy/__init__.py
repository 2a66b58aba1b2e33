"""From a trained network to labels, fast: one function over several runtimes, and files for them.

from mmseg_bisenet.deploy import load

segment = load('bisenetv2_camvid', runtime='torch', precision='bf16')
labels = segment(cv2.imread('street.png'))  # (512, 1024) uint8
"""

from mmseg_bisenet import install

with install.needing('run', 'mmseg_bisenet.deploy'):
    from mmseg_bisenet.deploy.loading import load

__all__ = ['load']
