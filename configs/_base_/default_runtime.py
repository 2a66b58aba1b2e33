default_scope = 'mmseg'
# A config that sets `custom_imports` itself replaces this line and must repeat ours.
custom_imports = dict(imports=['mmseg_bisenet'], allow_failed_imports=False)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
vis_backends = [dict(type='LocalVisBackend')]
# Not an import statement: MMEngine 0.10.7 treats a config that has one as a lazy-import config.
if __import__('importlib.util').util.find_spec('tensorboard'):
    vis_backends.append(dict(type='TensorboardVisBackend'))
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer')
custom_hooks = []  # for configs that add to `_base_.custom_hooks`; ours are in the schedule's `default_hooks`
log_processor = dict(by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
tta_model = dict(type='mmseg_bisenet.BiSeNetTTA')
