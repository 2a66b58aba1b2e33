_base_ = './bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py'
# The scale of the loss follows the gradients; stock fixes it at 512.
optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic')
