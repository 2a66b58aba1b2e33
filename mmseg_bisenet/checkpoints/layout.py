"""The layout of a checkpoint: how to recognise it, how to rename its keys, and which configs may fit."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """The keys of one network of one codebase.

    Args:
        source: the codebase, as ``--source`` spells it.
        network: the network, in words.
        marks: starts of keys; a state dict that has a key for each of them has this layout.
        rules: (pattern, replacement) for the start of a key; the first that matches counts. Replacement None: the
            tensor is for training only, and this package has no counterpart.
        configs: shell patterns of the names of our configs that may fit, the most likely first.
        adapt: changes the renamed state dict in place, if the codebase stores other tensors than ours.
    """

    source: str
    network: str
    marks: tuple[str, ...]
    rules: tuple[tuple[str, str | None], ...]
    configs: tuple[str, ...]
    adapt: Callable[[dict[str, Tensor]], None] | None = None

    def fits(self, keys: Iterable[str]) -> bool:
        keys = tuple(keys)
        return all(any(key.startswith(mark) for key in keys) for mark in self.marks)

    def rename(self, keys: Iterable[str]) -> tuple[dict[str, str], list[str], list[str]]:
        """Keys of that codebase -> our names by theirs, keys to drop, and keys that no rule knows."""
        names, dropped, strange, taken = {}, [], [], set()
        for key in keys:
            matches = ((re.match(pattern, key), replacement) for pattern, replacement in self.rules)
            match, replacement = next((found for found in matches if found[0]), (None, None))
            if match and replacement is None:
                dropped.append(key)
                continue
            name = match.expand(replacement) + key[match.end() :] if match and replacement is not None else None
            if name is None or name in taken:
                strange.append(key)
            else:
                names[key] = name
                taken.add(name)
        return names, dropped, strange
