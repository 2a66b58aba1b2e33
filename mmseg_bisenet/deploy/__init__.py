"""From a trained network to labels, fast: one function over several runtimes, and files for them.

from mmseg_bisenet.deploy import load

segment = load('bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024', 'weights.pth', runtime='torch', precision='bf16')
labels = segment(cv2.imread('street.png'))  # (512, 1024) uint8
"""

from mmseg_bisenet.deploy.loading import load

__all__ = ['load']
