_base_ = './bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py'
train_dataloader = dict(batch_size=8)
auto_scale_lr = dict(base_batch_size=32)
