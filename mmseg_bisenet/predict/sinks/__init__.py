"""What is written of results, a file for each way. ``SINKS`` lists them; the command line reads it.

Every file is written beside its place and renamed when it is whole. A video or a list that Ctrl-C ends is whole up to
the last frame.
"""

from mmseg_bisenet.predict.sinks.base import Folder, Sink, check_outputs
from mmseg_bisenet.predict.sinks.files import GeoJSON, Labels, Mask, Overlay
from mmseg_bisenet.predict.sinks.listing import COCO, JSON
from mmseg_bisenet.predict.sinks.video import Video
from mmseg_bisenet.predict.sinks.window import Window

__all__ = ['SINKS', 'Folder', 'Sink', 'Window', 'check_outputs']

SINKS: dict[str, type[Sink]] = dict(
    overlay=Overlay, mask=Mask, labels=Labels, video=Video, json=JSON, coco=COCO, geojson=GeoJSON
)
