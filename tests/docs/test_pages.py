"""The documentation: links lead somewhere, commands and options exist, and what is not marked otherwise runs."""

import argparse
import csv
import importlib
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from docs.pages import ALL_PAGES, PAGES, ROOT, anchors, blocks, commands, links, prose, spans
from mmengine.config import Config

from mmseg_bisenet import cli, model_index, pixels
from mmseg_bisenet.deploy.backends import FORMATS, RUNTIMES, FileBackend
from mmseg_bisenet.deploy.precision import NAMES
from mmseg_bisenet.predict import video

LENGTHS = {'README.md': 120, 'docs/performance.md': 150}  # lines
# Programs of others. Their arguments are not checked.
OTHERS = {
    '.',
    'bash',
    'cd',
    'csCreateTrainIdLabelImgs',
    'curl',
    'cvat-cli',
    'ln',
    'mkdir',
    'ovms',
    'python3',
    'tensorboard',
    'tritonserver',
    'trtexec',
}
# Options of mim, torchrun, the examples and other programs, and those that `test` accepts from MMSegmentation 0.x.
OTHER_OPTIONS = {
    '--conv-mask-to-poly',
    '--eval',
    '--fp16',
    '--gpus',
    '--host',
    '--hypothesis-profile',
    '--port',
    '--stronglyTyped',
}
WRITTEN = 'my-images.py'  # by `new-config my-images`
FOLDERS = re.compile(
    r'(?:benchmarks|configs|docs|examples|mmseg_bisenet|requirements|results|tests|tools|\.ci)/[\w./*-]+'
)


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


every_page = pytest.mark.parametrize('page', PAGES, ids=name)


@pytest.mark.parametrize('page', ALL_PAGES, ids=name)
def test_links_lead_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_page
def test_files_that_are_named_exist(page):
    missing = [path for span in spans(page) for path in FOLDERS.findall(span) if not list(ROOT.glob(path.rstrip('/.')))]
    assert not missing


def test_the_site_has_every_page():
    toctree = (ROOT / 'docs' / 'index.rst').read_text()
    for page in (ROOT / 'docs').glob('*.md'):
        assert f'\n   {page.stem}\n' in toctree


@pytest.mark.parametrize('page', LENGTHS)
def test_pages_stay_short(page):
    assert len((ROOT / page).read_text().splitlines()) <= LENGTHS[page]


@every_page
def test_code_is_in_blocks_with_a_language(page):
    assert {block.language for block in blocks(page)} <= {'bash', 'python'}
    assert '```' not in prose(page)
    assert not re.search(r'\n\n {4,}\S', prose(page))


# -- commands ----------------------------------------------------------------------------------------------------------


class Parsed(BaseException):
    """Ends a command after its arguments are parsed."""


@pytest.fixture
def parse(monkeypatch):
    """Parse a command as it would be parsed, without running it."""
    parse_args = argparse.ArgumentParser.parse_args

    def stop(parser, argv=None, namespace=None):
        raise Parsed(parse_args(parser, argv, namespace))

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', stop)

    def parse(main, argv: list[str]) -> argparse.Namespace:
        with pytest.raises(Parsed) as parsed:
            main(argv)
        return parsed.value.args[0]

    return parse


def benchmark(module: str):
    return importlib.import_module(module).main


def check(words: list[str], parse) -> None:
    """Raise unless the command exists, and takes these arguments."""
    match words:
        case ['mmseg-bisenet', *arguments]:
            check_config(parse(cli.main, arguments))
        case ['python', '-m', module, *arguments] if module.startswith('benchmarks.'):
            check_config(parse(benchmark(module), arguments))
        case ['torchrun', *rest]:
            assert '-m' in rest
            check(['python', *rest[rest.index('-m') :]], parse)
        case ['python', '-m', 'mmseg_bisenet.cli', *arguments]:
            check_config(parse(cli.main, arguments))
        case ['mim', 'train' | 'test' as command, package, config, *rest]:
            assert package in ('mmseg_bisenet', 'mmsegmentation')
            rest = [word for word in rest if word not in ('--checkpoint', '-C')]
            values = ('--gpus', '--port', '--partition', '--gpus-per-node', '--cpus-per-task')
            own = [i for i, word in enumerate(rest) if word in values]
            rest = [word for i, word in enumerate(rest) if i not in own and i - 1 not in own]
            check(['mmseg-bisenet', command, config, *rest], parse)
        case ['mim', 'run', 'mmseg_bisenet', *arguments]:
            check(['mmseg-bisenet', *arguments], parse)
        case ['make', *targets]:
            makefile = (ROOT / 'Makefile').read_text()
            targets = [target for target in targets if '=' not in target]
            assert all(re.search(rf'^{target}:', makefile, re.MULTILINE) for target in targets)
        case ['pip', *rest] | ['python', '-m', 'build', *rest]:
            pyproject = (ROOT / 'pyproject.toml').read_text()
            extras = ','.join(re.findall(r'(?:\.|whl)\[([\w,]+)\]', ' '.join(rest))).split(',')
            assert all(re.search(rf'^{extra} = \[', pyproject, re.MULTILINE) for extra in extras if extra)
        case ['python', script, *_] | [script, *_] if '/' in script:
            assert (ROOT / script).is_file()
        case _:
            assert words[0] in OTHERS, words


def check_config(args: argparse.Namespace) -> None:
    """Raise unless the configs that the arguments name exist."""
    values = [*getattr(args, 'configs', ()), getattr(args, 'config', None)]
    for value in filter(None, values):
        known = value in (WRITTEN, *model_index.entries()) or (ROOT / value).is_file()
        assert known or list((ROOT / 'configs').rglob(f'{value.removesuffix(".py")}.py')), value


@every_page
def test_commands_exist(page, parse):
    for block in blocks(page):
        for words in commands(block) if block.language == 'bash' else ():
            check(words, parse)


REASON = re.compile(
    r'needs .+|installs packages|(trains|measures) for .+|(opens|serves) .+|sets up .+|(?P<test>tests/[\w/]+\.py) .+'
)


@every_page
def test_blocks_that_are_not_run_say_what_they_need_or_which_test_runs_the_same(page):
    for block in blocks(page):
        reason = REASON.fullmatch(block.not_run)
        assert not block.not_run or reason, block.not_run
        assert not (reason and reason['test']) or (ROOT / reason['test']).is_file(), block.not_run


def options(main, argv: list[str], capsys) -> set[str]:
    """The options that the help of a command names."""
    with pytest.raises(SystemExit):
        main([*argv, '--help'])
    return set(re.findall(r'--[a-zA-Z][\w-]*', capsys.readouterr().out))


def test_options_that_are_named_exist(capsys):
    scripts = [f'benchmarks.{name}' for name in sorted(set(re.findall(r'-m benchmarks\.(\w+)', every_text())))]
    known = {command: options(cli.main, [command], capsys) for command in cli.COMMANDS}
    known |= {script: options(benchmark(script), [], capsys) for script in scripts}
    everything = set.union(OTHER_OPTIONS, *known.values())
    for page in PAGES:
        for span in spans(page):
            named = set(re.findall(r'(?<![\w-])--[a-zA-Z][\w-]*', span))
            command = re.match(r'(?:mmseg-bisenet|python -m) ([\w.-]+)', span)
            assert named <= (known.get(command[1], everything) if command else everything), (page, span)


def test_commands_in_the_text_exist():
    for page in PAGES:
        for command in re.findall(r'mmseg-bisenet ([a-z][a-z-]+)', '\n'.join(spans(page))):
            assert command in cli.COMMANDS, page


def every_text() -> str:
    return '\n'.join(page.read_text() for page in PAGES)


# -- what is run -------------------------------------------------------------------------------------------------------

RUN = [page for page in PAGES if any(not block.not_run for block in blocks(page))]


@pytest.mark.parametrize('page', RUN, ids=name)
def test_what_is_not_marked_runs(page, tmp_path, tmp_path_factory, monkeypatch):
    """Shell, scripts and configs, in the order of the page, in a folder with a photograph and the package's files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.getbasetemp() / 'cache'))  # one export for all pages
    (tmp_path / 'mmseg_bisenet').symlink_to(ROOT / 'mmseg_bisenet')
    cv2.imwrite('street.png', np.random.RandomState(0).randint(0, 256, (90, 160, 3), dtype=np.uint8))
    names = {}
    for block in blocks(page):
        if block.not_run:
            continue
        if block.language == 'bash':
            for words in commands(block):
                assert words[0] == 'mmseg-bisenet' and cli.main(words[1:]) == 0, words
        elif 'import ' in block.text:
            exec(compile(block.text, name(page), 'exec'), names)
        else:
            base = ROOT / 'configs/bisenetv2/bisenetv2_fcn_1xb8-400it_miniscapes-128x256.py'
            Path('config.py').write_text(f'_base_ = {str(base)!r}\n{block.text}')
            Config.fromfile('config.py')
    if name(page) == 'README.md':
        photo, labels = (
            cv2.imread('segmented/street.jpg'),
            cv2.imread('segmented/street_labels.png', cv2.IMREAD_UNCHANGED),
        )
        assert photo is not None and labels.shape == (90, 160) and labels.max() < 11
        assert names['labels'].shape == (360, 640) and names['labels'].dtype == np.uint8


# -- the figures of the first page -------------------------------------------------------------------------------------


def rows(file: str) -> list[dict[str, str]]:
    with (ROOT / 'results' / file).open(newline='') as lines:
        return list(csv.DictReader(lines))


def table(page: str, header: str) -> list[list[str]]:
    text = (ROOT / page).read_text()
    lines = text[text.index(f'| {header} |') :].split('\n\n')[0].splitlines()[2:]
    return [[cell.strip(' `') for cell in line.strip('|').split('|')] for line in lines]


def test_the_endings_that_predict_reads_are_listed():
    page = ' '.join((ROOT / 'docs/predict.md').read_text().split())
    (text,) = re.findall(r'in upper case too: images (.*?), videos (.*?)\. Others', page)
    listed = [set(re.findall(r'`(\.\w+)`', part)) for part in text]
    assert listed == [pixels.SUFFIXES, video.SUFFIXES]


# -- the runtimes ------------------------------------------------------------------------------------------------------


def test_the_table_of_runtimes_says_what_each_backend_declares():
    listed = {row[0].split('`')[0]: row for row in table('docs/deploy.md', 'runtime')}
    assert listed.keys() == RUNTIMES.keys()
    for name, backend in RUNTIMES.items():
        first, computes, shapes, *_ = listed[name]
        assert set(re.findall(r'(?:fp|bf|int)\d+', computes.partition('computed in')[0])) == set(backend.precisions)
        assert ('CPU only' in first) == (backend.devices == ('cpu',)), name
        free = isinstance(backend, FileBackend) and backend.free_shapes
        assert shapes.strip('`') == ('yes' if backend.any_shape else 'files with `--dynamic' if free else 'no'), name


def test_the_table_of_formats_says_what_each_backend_writes():
    listed = {row[0]: row for row in table('docs/deploy.md', '`--format`')}
    assert listed.keys() == FORMATS.keys()
    for name, backend in FORMATS.items():
        _, file, *written, _ = listed[name]
        assert file.split('`')[0] == backend.suffix
        found = {precision for precision, cell in zip(NAMES, written, strict=True) if cell != 'no'}
        assert found == set(backend.written_in), name


def test_speed_of_the_first_page_is_that_of_the_results():
    files = [rows(f'runtimes_bisenetv2_512x1024_2-core-epyc{machine}.csv') for machine in ('', '-zen4')]
    ours: list[float] = []  # times as fast as stock
    for runtime, precision, *cells in table('README.md', 'runtime'):
        runtime = {'plain ONNX Runtime': 'plain-onnxruntime'}.get(runtime, runtime)
        times, same, found = [], [], []
        for file in files:
            row = next((row for row in file if (row['runtime'], row['precision']) == (runtime, precision)), None)
            times.append(f'{float(row["p50_ms"]):.1f} ({float(row["ratio"]):.2f})' if row else 'not measured')
            same += [float(row['same_labels'])] if row else []
            found += [float(row['ratio'])] if row else []
        assert cells == [*times, f'{min(same):.2f}']
        if runtime != 'stock' and not runtime.startswith('plain-'):
            ours += found
    claim = f'labels on CPUs come {min(ours):.1f} to {max(ours):.1f} times as fast'
    assert claim in (ROOT / 'README.md').read_text()


def test_costs_of_the_first_page_are_those_of_the_results():
    costs = {
        (f'{int(row["parameters"]) / 1e6:.2f} M', f'{int(row["multiply_adds_512x1024"]) / 1e9:.1f} G')
        for row in rows('complexity.csv')
    }
    models = table('README.md', 'network')
    assert len(models) == 6 and all(tuple(row[3:]) in costs for row in models)
