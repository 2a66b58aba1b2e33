"""The folder of the outputs, and what a sink does."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path, PurePosixPath
from typing import Any

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import check_output, identities, replacing
from mmseg_bisenet.predict.result import Result
from mmseg_bisenet.predict.sources import Source

FIX = 'name another folder with --output'


class Folder:
    """The folder of the outputs. What this run did not write is replaced only with ``overwrite``, and no input ever.

    Args:
        path: of the folder, which is made when the first file is written.
        inputs: files that must stay.
    """

    def __init__(self, path: Path, overwrite: bool, inputs: Iterable[Path]) -> None:
        self.path, self.overwrite = path, overwrite
        self._inputs = identities(inputs)

    def file(self, name: str) -> Path:
        """The path of an output.

        Raises:
            InputError: it is an input, exists already, or a symbolic link leads out of the folder.
        """
        path = self.path / name
        check_output(path, self.overwrite, fix=FIX, inputs=self._inputs)
        between = [folder for folder in path.parents if self.path in folder.parents]
        links = [folder for folder in between if folder.is_symlink()]
        if links:
            raise InputError(f'{links[0]} is a symbolic link, which is not followed; {FIX}')
        return path

    def replacing(self, name: str) -> AbstractContextManager[Path]:
        """As :func:`mmseg_bisenet.files.replacing`, for an output."""
        return replacing(self.file(name), self.overwrite)


def check_outputs(folder: Folder, sinks: 'Iterable[Sink]', sources: Sequence[Source]) -> None:
    """Refuse, before the work, what may not be written, and what two sources would write to one place.

    A folder of frames belongs to its video, stream or camera alone: what its files are called depends on its length.

    Raises:
        InputError: it names the output, or both sources.
    """
    places = []
    for sink in sinks:
        taken = [source for source in sources if sink.takes(source)]
        for name in sink.names(taken):
            folder.file(name)
        places += [(place, source) for source in taken if (place := sink.place(source))]
    writers = dict(places)
    for name, source in places:
        for place in (name, *map(str, PurePosixPath(name).parents)):
            other = writers.get(place, source)
            if other is not source:
                raise InputError(
                    f'outputs of {source} would lie in {folder.path / place}, which belongs to {other}; give one at a '
                    'time, each with its own --output'
                )


class Sink:
    """Takes results in their order. As a context manager it ends what it writes, or removes it after an error.

    Attributes:
        draws: the picture that it takes of a result: ``overlay``, ``mask`` or none.
        moving: True if it takes videos, cameras and streams only, False if images only.
    """

    draws = ''
    moving: bool | None = None

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._open = ExitStack()

    def __enter__(self) -> 'Sink':
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def takes(self, source: Source) -> bool:
        return self.moving in (None, source.moving)

    def names(self, sources: Sequence[Source]) -> list[str]:
        """Files that it will write for sources that it takes, as far as they are known."""
        raise NotImplementedError

    def place(self, source: Source) -> str:
        """The file, or the folder of frames, that it writes for this source alone; '' if there is none."""
        return ''

    def write(self, result: Result, source: Source, picture: Any) -> None:
        """Raises:
        InputError: it cannot be written.
        """
        raise NotImplementedError
