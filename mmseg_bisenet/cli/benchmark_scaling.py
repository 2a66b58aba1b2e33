"""``mmseg-bisenet benchmark-scaling CONFIG``: loader, step and all-reduce, and what they let 64 GPUs do.

With ``--launcher pytorch`` under torchrun, the all-reduce is that among the processes.
"""

import argparse
from pathlib import Path

from mmseg_bisenet.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from mmseg_bisenet.cli import config

    config.add_arguments(parser)
    config.add_launcher(parser)
    parser.add_argument('--steps', type=int, default=10, help='timed steps (default: %(default)s)')
    parser.add_argument(
        '--bandwidth',
        type=float,
        metavar='GB/s',
        help='of the slowest link between GPUs, 10^9 bytes: expect with it instead of what was measured',
    )
    parser.add_argument('--csv', metavar='FILE', help='write the figures here, a line for each number of GPUs')


def run(args: argparse.Namespace) -> int:
    import torch
    from mmengine.dist import init_dist, is_distributed, is_main_process

    from benchmarks import scaling
    from mmseg_bisenet.benchmark import machine
    from mmseg_bisenet.benchmark.tables import write_csv
    from mmseg_bisenet.cli import config

    if args.steps < 1 or (args.bandwidth is not None and args.bandwidth <= 0):
        raise InputError('--steps must be 1 or more, --bandwidth above 0')
    config.require_file('--csv', args.csv)
    cfg = config.load(args)
    no_data = ''
    try:
        config.check_data(cfg, 'train_dataloader')
    except InputError as error:
        no_data = str(error)
    config.launch(cfg, args.launcher)
    if args.launcher != 'none' and not is_distributed():
        init_dist(args.launcher, **cfg.env_cfg.dist_cfg)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    measured = scaling.measure(cfg, device, args.steps, load=not no_data)
    main = is_main_process()
    config.leave()
    if not main:
        return 0
    network = scaling.Network(args.bandwidth * 1e9) if args.bandwidth else measured.network
    expectations = scaling.expect_all(measured, network)
    setting = dict(
        config=Path(args.config).stem,
        device=machine.name(device),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        height=cfg.model.data_preprocessor.size[0],
        width=cfg.model.data_preprocessor.size[1],
    )
    print('{config}: {device}, threads a process {threads}, torch {torch}, fp32, {height}x{width}'.format(**setting))
    print(f'medians of {args.steps}\n\n{scaling.measured_table(measured, no_data)}\n')
    if network:
        source = 'given' if args.bandwidth else 'measured'
        print(f'expected with a ring of {network.bandwidth / 1e9:.3g} GB/s ({source}):\n')
        print(scaling.expected_table(measured, expectations))
    else:
        print('expected efficiency: give --bandwidth GB/s, or start 2 processes or more with --launcher pytorch')
    if args.csv:
        write_csv(args.csv, [setting | row for row in scaling.rows(measured, expectations)])
    return 0
