"""The two stock loading transforms with checks: an error names the wrong file.

They keep the stock names, because stock code looks for these names: ``mmseg.apis.inference_model`` removes the
transform of ``type`` ``LoadAnnotations`` and replaces the first one by ``LoadImageFromNDArray``. A pipeline selects
ours by scope::

    dict(type='LoadImageFromFile', _scope_='mmseg_bisenet'),
    dict(type='LoadAnnotations', _scope_='mmseg_bisenet', num_classes=19),

Deviations from stock: stock converts a label to uint8 without a check, so id 256 of a 16-bit file becomes class 0. Here
the ids are checked first. Stock drops every axis of length 1, and fails later for a label of one row or column; here
only a single channel is dropped. Stock truncates floating-point pixels, takes files whose compression changes ids, and
turns an image by its EXIF orientation but not its label; these labels are refused here. For other correct files both
give the same arrays. A pipe is not waited for.

If kornia-rs is installed (extra ``fast``), it decodes 8-bit PNG files, RGB images and grey labels, to the same arrays.
At 2048x1024, an image takes 18 ms (OpenCV: 38 ms), a label 1 ms (Pillow: 5 ms).
"""

from contextlib import suppress
from io import BytesIO
from pathlib import Path

import cv2
import mmcv
import mmcv.transforms
import mmengine.fileio
import mmseg.datasets.transforms
import numpy as np
from PIL import Image, UnidentifiedImageError

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import check_input
from mmseg_bisenet.photographs import PNG, fault, is_whole_png, orientation
from mmseg_bisenet.registry import TRANSFORMS

try:
    from kornia_rs.io import decode_image_png_u8
except ImportError:
    decode_image_png_u8 = None

# Chunks that do not change pixels. kornia-rs reads PNG files with these only. Stock reads files with others, such as
# tRNS (a transparent colour), eXIf (an orientation) and acTL (an animation).
PLAIN_CHUNKS = set(b'IHDR IDAT IEND bKGD cHRM gAMA iCCP iTXt pHYs sRGB tEXt tIME zTXt'.split())
LOSSY = set('jpeg mpo jpeg2000 webp avif tiff_jpeg'.split())  # Pillow's names of formats and of compressions in TIFF
WRITE_AGAIN = 'write it again as PNG, from its source'


@TRANSFORMS.register_module()
class LoadImageFromFile(mmcv.transforms.LoadImageFromFile):
    """Stock ``LoadImageFromFile`` with the same arguments. Its errors are :class:`InputError`.

    Reads ``img_path``; sets ``img`` ((H, W, 3), BGR, uint8, 0 to 255, by default), ``img_shape`` and ``ori_shape``
    (both (H, W)).

    Raises:
        InputError: the file is missing, empty, or no image; or, in colour, it has several frames or pixels that
            decoders read differently (:mod:`mmseg_bisenet.photographs`). The message names the file.
    """

    def transform(self, results: dict) -> dict | None:
        check_input(results['img_path'])
        try:
            if self.ignore_empty or self.file_client_args is not None:
                return super().transform(results)
            content = mmengine.fileio.get(results['img_path'], backend_args=self.backend_args)
            if self.color_type == 'color' and (wrong := _fault(content)):
                raise InputError(f'{results["img_path"]}: the image {wrong}')
            image = _decode(content, self.color_type, self.imdecode_backend)
            results['img'] = image.astype(np.float32) if self.to_float32 else image
            results['img_shape'] = results['ori_shape'] = image.shape[:2]
            return results
        except InputError:
            raise
        except Exception as error:  # a storage backend and a decoder each raise their own
            raise InputError(
                f'{results["img_path"]}: the image cannot be read ({_reason(error, self.imdecode_backend)}); '
                'replace the file, or fix the path in data_root, data_prefix and ann_file'
            ) from error


@TRANSFORMS.register_module()
class LoadAnnotations(mmseg.datasets.transforms.LoadAnnotations):
    """Stock ``LoadAnnotations`` that refuses labels that the loss cannot use, and takes those of one row or column.

    Reads ``seg_map_path`` and, if an image was loaded before, ``ori_shape``; sets ``gt_seg_map`` ((H, W), uint8,
    every value below ``num_classes`` or equal to ``ignore_index``).

    Args:
        num_classes: number of classes of the model, after the data set's ``reduce_zero_label`` and ``label_map``.
            Required.
        ignore_index: id of the pixels that do not count, 0 to 255.
        reduce_zero_label, backend_args, imdecode_backend: as in stock.

    Raises:
        InputError: ``num_classes`` is not an integer from 1 to 256; or a label file is missing, cannot be decoded, is
            of a lossy format or of floating point, has more than one channel, an EXIF orientation, another size than
            its image, or ids outside the classes. The message names the file.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        ignore_index: int = 255,
        *,
        reduce_zero_label: bool | None = None,
        backend_args: dict | None = None,
        imdecode_backend: str = 'pillow',
    ) -> None:
        # The default None is there so that a config without num_classes gets this message instead of a TypeError.
        if type(num_classes) is not int or not 1 <= num_classes <= 256:
            raise InputError(
                f'LoadAnnotations: num_classes is {num_classes!r}; give the number of classes of the model, '
                'an integer from 1 to 256, such as num_classes=19'
            )
        super().__init__(
            reduce_zero_label=reduce_zero_label, backend_args=backend_args, imdecode_backend=imdecode_backend
        )
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    def _load_seg_map(self, results: dict) -> None:
        path = results['seg_map_path']
        label = self._read(path)
        if label.ndim != 2:
            raise InputError(
                f'{path}: the label has shape {label.shape} instead of one channel of class ids (H, W); '
                'convert its colours to ids, or fix seg_map_path and seg_map_suffix'
            )
        image_size = results.get('ori_shape', label.shape)
        if label.shape != tuple(image_size):
            raise InputError(
                f'{path}: the label is {_size(label.shape)} and its image {_size(image_size)} (width x height); '
                'create the label again at the size of the image'
            )
        if label.dtype != np.uint8:
            beyond = (label < 0) | (label > 255)
            if beyond.any():
                raise self._outside(path, np.unique(label[beyond]))
            label = label.astype(np.uint8)

        table = self._table(results)
        mapped = label if table is None else table[label]
        # Two comparisons take 0.16 ms at 2048x1024, np.bincount 3.7 ms and np.unique 5.7 ms.
        outside = (mapped >= self.num_classes) & (mapped != self.ignore_index)
        if outside.any():
            raise self._outside(path, np.unique(label[outside]))

        results['gt_seg_map'] = mapped
        results['seg_fields'].append('gt_seg_map')

    def _read(self, path: str) -> np.ndarray:
        check_input(path)
        try:
            content = mmengine.fileio.get(path, backend_args=self.backend_args)
            label = _decode(content, 'unchanged', self.imdecode_backend)
            label = label[..., 0] if label.ndim == 3 and label.shape[2] == 1 else label
        except Exception as error:  # a storage backend and a decoder each raise their own
            fix = 'replace the file, or fix seg_map_path and seg_map_suffix'
            if isinstance(error, FileNotFoundError) and path.endswith('_labelTrainIds.png'):
                fix = 'create them: pip install cityscapesscripts, CITYSCAPES_DATASET=DIR csCreateTrainIdLabelImgs'
            raise InputError(
                f'{path}: the label cannot be read ({_reason(error, self.imdecode_backend)}); {fix}'
            ) from error
        if lossy := _lossy(content):
            raise InputError(f'{path}: the label is compressed as {lossy}, which changes ids; {WRITE_AGAIN}')
        if b'eXIf' in content and _is_turned(content):
            raise InputError(
                f'{path}: the label has an EXIF orientation, which programs apply to images but not to ids; write it '
                'again without'
            )
        if label.dtype.kind not in 'iub':
            raise InputError(f'{path}: the label has pixels of type {label.dtype}, not integers; {WRITE_AGAIN}')
        return label

    def _table(self, results: dict) -> np.ndarray | None:
        """The new value of each id of the file, (256,) uint8, or None if the data set changes none."""
        reduce_zero_label, label_map = results['reduce_zero_label'], results.get('label_map')
        if self.reduce_zero_label not in (None, reduce_zero_label):
            raise InputError(
                f'LoadAnnotations: reduce_zero_label is {self.reduce_zero_label} and that of the data set '
                f'{reduce_zero_label}; set it on the data set only'
            )
        if not reduce_zero_label and label_map is None:
            return None
        table = np.arange(256, dtype=np.uint8)
        if reduce_zero_label:
            table[1:255] -= 1
            table[0] = 255
        if label_map is not None:
            new = np.arange(256, dtype=np.uint8)
            new[list(label_map)] = list(label_map.values())
            table = new[table]
        return table

    def _outside(self, path: str, ids: np.ndarray) -> InputError:
        """The error for a file with ``ids`` outside the classes. They are sorted, and as written in the file."""
        if 'labelIds' in Path(path).name or (self.num_classes == 19 and ids[0] >= 19 and ids[-1] <= 33):
            fix = (
                'these look like Cityscapes labelIds instead of labelTrainIds: run '
                'python -m cityscapesscripts.preparation.createTrainIdLabelImgs and set '
                "seg_map_suffix='_gtFine_labelTrainIds.png'"
            )
        else:
            fix = 'fix the label, or set num_classes and ignore_index to the ids of the labels'
        return InputError(
            f'{path}: the label has ids {", ".join(map(str, ids[:8]))}{", ..." if len(ids) > 8 else ""} outside the '
            f'{self.num_classes} classes (0 to {self.num_classes - 1}, {self.ignore_index} is ignored); {fix}'
        )


def _decode(content: bytes, flag: str, backend: str) -> np.ndarray:
    """``mmcv.imfrombytes``, or kornia-rs if it is certain to give the same array."""
    if decode_image_png_u8 and backend in ('cv2', 'pillow'):
        if flag == 'color' and (pixels := _decode_png(content, colour_type=2, mode='rgb')) is not None:
            return cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR, dst=pixels)
        if flag == 'unchanged' and (pixels := _decode_png(content, colour_type=0, mode='mono')) is not None:
            return pixels[:, :, 0]
    pixels = mmcv.imfrombytes(content, flag=flag, backend=backend)
    # Pillow fills missing pixels with 0, class 0 of a label. They are the last ones, or in the last row but one of an
    # interlaced file; `is_whole_png` would take as long as a third of the decoding for every file.
    if backend == 'pillow' and content.startswith(PNG) and not pixels[-2:, -1].all() and not is_whole_png(content):
        raise ValueError('pixels are missing')
    return pixels


def _decode_png(content: bytes, colour_type: int, mode: str) -> np.ndarray | None:
    """Decode a complete PNG of that colour type with 8 bits, not interlaced, without chunks that change pixels.

    None for any other file, and for a file that kornia-rs refuses: stock then reads it, or reports the error.
    """
    # The header: width, height, bits per channel, colour type, compression, filter, interlace.
    if content[12:16] != b'IHDR' or content[24:29] != bytes([8, colour_type, 0, 0, 0]):
        return None
    chunks, end = set(), 8
    while end < len(content):
        chunks.add(content[end + 4 : end + 8])
        end += 12 + int.from_bytes(content[end : end + 4], 'big')
    if end != len(content) or not chunks <= PLAIN_CHUNKS:
        return None
    width, height = int.from_bytes(content[16:20], 'big'), int.from_bytes(content[20:24], 'big')
    if width * height > 2**30:  # OpenCV's limit; kornia-rs would allocate the memory first
        return None
    try:
        return decode_image_png_u8(content, (height, width), mode)
    except Exception:  # its exceptions have no common class
        return None


def _fault(content: bytes) -> str:
    """As :func:`mmseg_bisenet.photographs.fault`; '' for formats that Pillow does not know, which stock may read."""
    with suppress(UnidentifiedImageError):
        return fault(content)
    return ''


def _lossy(content: bytes) -> str:
    """The compression of an image if it changes pixels, or ''."""
    if content.startswith(PNG):
        return ''
    with suppress(Exception), Image.open(BytesIO(content)) as image:  # other decoders read what Pillow does not know
        names = str(image.format).lower(), str(image.info.get('compression'))
        return next((name for name in names if name in LOSSY), '')
    return ''


def _is_turned(png: bytes) -> bool:
    with suppress(Exception), Image.open(BytesIO(png)) as image:
        image.load()  # the chunk may come last
        return orientation(image) != 1
    return False


def _size(shape: tuple[int, int]) -> str:
    return f'{shape[1]}x{shape[0]}'


def _reason(error: Exception, backend: str) -> str:
    """Describe a storage or decoding error for a user, on one line."""
    if isinstance(error, FileNotFoundError):
        return 'no such file'
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    fault = 'empty, cut short or not an image'
    return fault if backend in ('cv2', 'pillow') else f'{fault}, for imdecode_backend={backend}'
