"""Processes that start quickly: a server imports the packages once, and each process is a fork of it.

They start with clean state, unlike forks of the test process, and without seconds of imports, unlike spawned ones.
"""

from torch import multiprocessing

METHOD = 'forkserver'
CONTEXT = multiprocessing.get_context(METHOD)
CONTEXT.set_forkserver_preload(
    [
        'mmseg_bisenet',
        'mmengine.runner',
        'mmseg.apis',
        'mmseg_bisenet.data',
        'mmseg_bisenet.engine',
        'mmseg_bisenet.evaluation',
        'mmseg_bisenet.models',
    ]
)
