"""``mmseg-bisenet benchmark-accuracy``: configs trained with several seeds each, mIoU with mean and spread."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from mmseg_bisenet.cli.config import CfgOptions

    parser.add_argument('configs', nargs='+', help='paths of configs, or bare names of those of this package')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='default: 0 1 2')
    parser.add_argument('--work-dir', default='work_dirs/accuracy', metavar='DIR', help='default: %(default)s')
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument('--amp-dtype', choices=['float16', 'bfloat16'], default='float16', help='default: %(default)s')
    parser.add_argument('--ema', action='store_true', help='as train has it')
    parser.add_argument(
        '--cfg-options', nargs='+', action=CfgOptions, default={}, metavar='KEY=VALUE', help='override the configs'
    )
    parser.add_argument('--csv', metavar='FILE', help='write the table there')


def run(args: argparse.Namespace) -> int:
    import torch

    from benchmarks import accuracy
    from mmseg_bisenet.benchmark import machine, tables
    from mmseg_bisenet.cli import config

    config.require_file('--csv', args.csv)
    setting = machine.describe('cuda' if torch.cuda.is_available() else 'cpu')
    options = ['--amp', '--amp-dtype', args.amp_dtype] if args.amp else []
    options += ['--ema'] if args.ema else []
    changes = [f'{key}={value}' for key, value in args.cfg_options.items()]
    configs = [config.find(name) for name in args.configs]
    rows = accuracy.run(configs, args.seeds, Path(args.work_dir), options, changes)
    header = ['config', *(f'seed {seed}' for seed in args.seeds), 'mean', 'standard deviation']
    print(tables.markdown(header, 'l' + 'r' * (len(args.seeds) + 2), accuracy.spread(rows)))
    if args.csv:
        setting |= dict(amp=args.amp_dtype if args.amp else '', ema=args.ema, changed=' '.join(changes))
        tables.write_csv(args.csv, [row | setting for row in rows])
    return 0
