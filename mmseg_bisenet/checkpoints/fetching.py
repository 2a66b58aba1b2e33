"""Checkpoints by their URL, fetched once."""

import hashlib
import re
from pathlib import Path
from urllib.parse import urlparse

import mmengine.fileio
import torch

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import replacing


def fetch(source: str) -> str:
    """The path of a checkpoint. A URL is fetched into PyTorch's folder of downloads, unless it was fetched before.

    Args:
        source: a path, which is returned as it is, or a URL. If its name ends in the first digits of the file's
            SHA-256, as OpenMMLab's do (``NAME-1a2b3c4d.pth``), they are checked. Another file is stored under a name of
            its own, because many URLs end in names such as ``iter_160000.pth``.

    Raises:
        InputError: nothing can be fetched from the URL, or the file has another digest.
    """
    if '://' not in source:
        return source
    name = Path(urlparse(source).path).name
    found = re.search(r'-([0-9a-f]{8,64})\.pth$', name)
    digest = found[1] if found else None
    if not digest:
        name = f'{hashlib.sha256(source.encode()).hexdigest()[:8]}-{name}'
    path = Path(torch.hub.get_dir(), 'checkpoints', name)
    if path.is_file():
        return str(path)
    with replacing(path, overwrite=True) as partial:  # of a process that was faster
        try:
            if urlparse(source).scheme in ('http', 'https', 'file', 'ftp'):
                torch.hub.download_url_to_file(source, str(partial), digest)
            else:
                partial.write_bytes(mmengine.fileio.get(source))
        except Exception as error:  # each storage backend raises its own
            reason = ' '.join(str(error).split())
            raise InputError(
                f'checkpoint {source} cannot be fetched ({reason}); fetch it by other means and give the path of the '
                'file'
            ) from error
    return str(path)
