# MMSegmentation's benchmark times 200 images, and prints NaN where there are fewer: the 40 come round five times.
_base_ = './bisenetv2_fcn_1xb8-400it_miniscapes-128x256.py'
test_dataloader = dict(
    dataset=dict(_delete_=True, type='RepeatDataset', times=5, dataset=_base_.test_dataloader.dataset)
)
