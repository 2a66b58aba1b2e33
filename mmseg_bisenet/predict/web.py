"""The page of ``mmseg-bisenet web``, by Gradio: a photograph, a video or the camera -> overlay, legend, files.

It labels and writes as ``predict`` does, with the same pipeline and sinks. Nothing comes from the net, and nothing goes
there. Messages name a file as its user does: its path on this machine never reaches the page.

Gradio keeps uploads and results in ``$GRADIO_TEMP_DIR``, which it reads when it is imported.
"""

import html
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from threading import Event, Lock

import cv2
import gradio as gr
import numpy as np

from mmseg_bisenet.errors import InputError, line
from mmseg_bisenet.pixels import write_pixels
from mmseg_bisenet.predict.pipeline import Pipeline, Report
from mmseg_bisenet.predict.predictor import Predictor
from mmseg_bisenet.predict.result import Result
from mmseg_bisenet.predict.sinks import SINKS, Folder
from mmseg_bisenet.predict.sources import ImageFile, Source, VideoFile

UPLOAD = 256 * 1024**2  # bytes of a file
FRAMES = 1500  # of a video; other videos wait for it
WAITING = 64  # requests; one more is refused with a message
SWEEP, KEEP = 60, 3600  # seconds: how often files are removed, and how old they are then
VIEW = 1600  # pixels of the longer side in the slider; the files have the size of the photograph
HEIGHT = 'min(400px, 80vw)'  # of the pictures
# Sinks, and the files to download that they write.
IMAGE = dict(labels='_labels.png', overlay='.jpg', json='.json')
VIDEO = dict(labels='_labels.zip', video='.mp4', json='.json')
PROGRESS = gr.Progress()
LOADING = Lock()  # one model at a time: exports silence the whole process
FONT = gr.themes.LocalFont('Source Sans Pro', weights=(400, 700)), 'system-ui', 'sans-serif'  # Gradio brings the file
TITLE = 'BiSeNet: every pixel of a street, labelled'
ABOUT = f"""# {TITLE}
Drop a photograph or a video, or use the camera, and the network gives each pixel a class, such as road, car or person.
Files stay on the machine that serves this page, and are deleted after {KEEP // 60} minutes."""
CSS = """
.gradio-container { max-width: 1240px !important; margin: auto; }
input { text-overflow: ellipsis; }
.legend { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .3rem 1.2rem; }
.legend div { display: grid; grid-template-columns: 1rem 1fr auto; gap: .5rem; align-items: center; }
.legend i { width: 1rem; height: 1rem; border-radius: .2rem; border: 1px solid var(--border-color-primary); }
.legend b { font-variant-numeric: tabular-nums; }
.stages { margin-top: .6rem; color: var(--body-text-color-subdued); font-size: var(--text-sm); }
"""


def build(load: Mapping[str, Callable[[], Predictor]], examples: Sequence[Path], folder: Path) -> gr.Blocks:
    """The page.

    Args:
        load: by the names that the page offers, what gives the predictor. The first one is chosen at the start.
        examples: images to try.
        folder: for files on their way to Gradio's own folder.
    """
    camera = gr.WebcamOptions(mirror=False)
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(SWEEP, KEEP)) as page:
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                gr.Markdown(ABOUT)
            choice = gr.Dropdown(list(load), label='Model and runtime', filterable=False, min_width=280)
        with gr.Tab('Photograph or camera'), gr.Row():
            with gr.Column(min_width=320):
                photograph = gr.Image(label='Photograph', height=HEIGHT, webcam_options=camera)
                gr.Examples([[str(path)] for path in examples], photograph, label='Streets to try')
            with gr.Column(min_width=320):
                slider = gr.ImageSlider(label='Photograph | labels', interactive=False, height=HEIGHT)
                of_photograph = [slider, *_below('Labels, PNG', 'Overlay, JPEG', 'Shares, JSON')]
        with gr.Tab('Video'), gr.Row():
            with gr.Column(min_width=320):
                video = gr.Video(label='Video', height=HEIGHT, include_audio=True, webcam_options=camera)
            with gr.Column(min_width=320):
                overlay = gr.Video(label='Labels', height=HEIGHT, interactive=False)
                of_video = [overlay, *_below('Labels, ZIP of PNG', 'Overlay, MP4', 'Shares, JSON')]
        _on('photograph', photograph, choice, _label(load, folder, ImageFile, IMAGE), of_photograph)
        _on('video', video, choice, _label(load, folder, VideoFile, VIDEO), of_video)
    return page.queue(max_size=WAITING)


def _below(*files: str) -> list[gr.components.Component]:
    """The legend, and buttons for the files."""
    text = gr.HTML('<div class="stages">The share of each class and the time of each stage appear here.</div>')
    with gr.Row():
        return [text, *(gr.DownloadButton(file, size='sm', min_width=90, interactive=False) for file in files)]


def _on(
    name: str,
    upload: gr.components.Component,
    choice: gr.Dropdown,
    label: Callable[..., Iterator[list]],
    outputs: list[gr.components.Component],
) -> None:
    """Label what is uploaded, and again when another model is chosen."""
    gr.on(
        [upload.change, choice.change],
        label,
        [upload, choice],
        outputs,
        preprocess=False,  # the file as it was uploaded: Gradio would decode the image, and write it again
        api_name=name,
        show_progress_on=outputs[0],
    )


def _label(
    load: Mapping[str, Callable[[], Predictor]],
    folder: Path,
    kind: Callable[[Path, str], Source],
    kinds: Mapping[str, str],
) -> Callable[..., Iterator[list]]:
    """What Gradio calls with an upload in its folder: yields what the page shows, the legend and the files.

    Args:
        kind: of source that the upload is.
        kinds: ``IMAGE`` or ``VIDEO``.
    """

    def label(upload: dict | None, choice: str, progress: gr.Progress = PROGRESS) -> Iterator[list]:
        # Whatever comes of this upload, the page no longer shows the last one.
        yield [None, '', *(gr.DownloadButton(value=None, interactive=False) for _ in kinds)]
        if upload is None:
            return
        path = Path(upload.get('path') or '')
        if not path.resolve().is_relative_to(folder.resolve()):  # Gradio checks it too
            raise gr.Error('this is no file that was uploaded')
        predictor = _loaded(load, choice)
        with tempfile.TemporaryDirectory(dir=folder) as name:
            own = Path(name)
            try:
                report, share, last = run(predictor, kind(path, path.stem), own, kinds, progress)
            except InputError as error:
                raise gr.Error(_message(error, path, own), print_exception=False) from error
            if report.failures:
                gr.Warning(_message(InputError(report.failures[0]), path, own))
            if (own / path.stem).is_dir():  # labels of the frames
                shutil.make_archive(f'{own / path.stem}_labels', 'zip', own, path.stem)
            labels, overlay, shares = (next(own.glob(f'*{ending}')) for ending in kinds.values())
            files = [gr.DownloadButton(value=str(file), interactive=True) for file in (labels, overlay, shares)]
            shown = _pair(last, own) if kinds == IMAGE else str(overlay)
            # Gradio copies the files before it asks for the next item, of which there is none.
            yield [shown, legend(last, share, report, predictor), *files]

    return label


def run(
    predictor: Predictor, source: Source, folder: Path, kinds: Iterable[str], progress: Callable
) -> tuple[Report, dict[str, float], Result]:
    """Label a source and write the files.

    Returns:
        What was done, the mean share of each class, and the last result.

    Raises:
        InputError: the source cannot be read, or has too many frames.
    """
    count, stop = source.count(), Event()
    last: list[Result] = []
    shares: Counter[str] = Counter()

    def take(report: Report, result: Result) -> None:
        if max(report.frames, count or 0) > FRAMES:
            raise InputError(f'{source.path} has more than {FRAMES} frames; label it with mmseg-bisenet predict')
        progress((report.frames, count))
        shares.update(result.share())
        last[:] = [result]

    try:
        sinks = [SINKS[kind](Folder(folder, False, filter(None, [source.path]))) for kind in kinds]
        report = Pipeline([source], stop).run(predictor.label, sinks, take)
    finally:
        stop.set()
    if not last:
        raise InputError(report.failures[0])
    return report, {name: share / report.frames for name, share in shares.items()}, last[0]


def _loaded(load: Mapping[str, Callable[[], Predictor]], choice: str) -> Predictor:
    if str(choice) not in load:
        raise gr.Error(f'{html.escape(str(choice))} is not offered; choose {" or ".join(load)}', print_exception=False)
    try:
        with LOADING:
            return load[choice]()
    except InputError as error:
        print(f'{choice}: {line(error)}', file=sys.stderr)
        raise gr.Error(f'{choice} does not run here; the program that serves the page says why') from error


def _message(error: InputError, path: Path, own: Path) -> str:
    return html.escape(line(error).replace(str(path), path.name).replace(f'{own}/', ''), quote=False)


def _pair(result: Result, folder: Path) -> tuple[str, str]:
    """The two pictures of the slider, as files."""
    view = folder / 'view'
    view.mkdir()
    for name, picture in dict(photograph=result.image, labels=result.overlay()).items():
        write_pixels(view / f'{name}.jpg', _smaller(picture))
    return str(view / 'photograph.jpg'), str(view / 'labels.jpg')


def _smaller(picture: np.ndarray) -> np.ndarray:
    ratio = VIEW / max(picture.shape)
    return picture if ratio >= 1 else cv2.resize(picture, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)


def legend(result: Result, share: Mapping[str, float], report: Report, predictor: Predictor) -> str:
    """HTML: colour and share of each class that is there, the largest first, and the time of each stage."""
    colours = dict(zip(result.classes, result.palette, strict=True))
    rows = [
        f'<div><i style="background: rgb{tuple(map(int, colours[name]))}"></i><span>{html.escape(name)}</span>'
        f'<b>{part:.1%}</b></div>'
        for name, part in sorted(share.items(), key=lambda item: -item[1])
        if round(part, 3)
    ]
    stages = ' · '.join(f'{stage} {median(times):.1f} ms' for stage, times in report.times.items() if times)
    height, width = result.labels.shape
    about = f'{width}x{height}, {predictor.runtime} in {predictor.precision}'
    if report.frames > 1:
        about = f'{report.frames} frames, {report.frames / report.seconds:.1f} a second, {about}'
    return f'<div class="legend">{"".join(rows)}</div><div class="stages">{about}<br>{stages}</div>'


def launch(page: gr.Blocks, host: str, port: int) -> None:
    """Serve the page in threads of its own.

    Raises:
        InputError: the port is in use, or the server does not start within Gradio's 5 s.
    """
    try:
        _launch(page, host, port)
    except OSError as error:
        raise InputError(
            f'{host}:{port}: the page did not start; another program took the port, or the machine is busy: try again'
        ) from error


def _launch(page: gr.Blocks, host: str, port: int) -> None:
    page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        inline=False,
        inbrowser=False,
        share=False,
        _frontend=False,  # Gradio would ask for the page once, and end if a busy machine takes 3 s to answer
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        max_file_size=UPLOAD,
        theme=gr.themes.Default(primary_hue='blue', neutral_hue='slate', font=FONT),
        css=CSS,
    )
