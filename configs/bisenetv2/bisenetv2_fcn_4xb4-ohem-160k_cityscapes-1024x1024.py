# MMSegmentation's recipe for Cityscapes, with mining. Stock writes `models = dict(`, so its config trains without
# mining; its sampler also averages over easy pixels.
_base_ = [
    '../_base_/models/bisenetv2-ohem.py',
    '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/schedules/schedule_160k.py',
    '../_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, data_preprocessor=dict(size=_base_.crop_size))
optim_wrapper = dict(optimizer=dict(lr=0.05))
