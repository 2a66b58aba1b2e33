# The config of the demo, for MMSegmentation's benchmark. That script times 200 images and prints NaN if there are
# fewer, so the 40 images are read five times.
_base_ = [
    '../_base_/models/bisenetv2-narrow.py',
    '../_base_/datasets/miniscapes.py',
    '../_base_/schedules/schedule_400_demo.py',
    '../_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=_base_.crop_size))
test_dataloader = dict(
    dataset=dict(_delete_=True, type='RepeatDataset', times=5, dataset=_base_.test_dataloader.dataset)
)
