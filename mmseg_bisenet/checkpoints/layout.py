"""What a layout of checkpoints is: how to know it, how its keys become ours, and which configs may fit."""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """The keys of one network of one codebase.

    Args:
        source: the codebase, as ``--source`` spells it.
        network: the network, in words.
        marks: beginnings of keys; a state dict that has a key for each of them is of this layout.
        rules: (pattern, replacement) on the beginning of a key, the first that matches counts. Replacement None: the
            tensor serves training only, and has no counterpart here.
        configs: shell patterns of the names of our configs that may fit, the likelier first.
    """

    source: str
    network: str
    marks: tuple[str, ...]
    rules: tuple[tuple[str, str | None], ...]
    configs: tuple[str, ...]

    def fits(self, keys: Iterable[str]) -> bool:
        keys = tuple(keys)
        return all(any(key.startswith(mark) for key in keys) for mark in self.marks)

    def rename(self, keys: Iterable[str]) -> tuple[dict[str, str], list[str], list[str]]:
        """Keys of that codebase -> our name of each, those to drop, and those that fit nowhere."""
        names, dropped, strange, taken = {}, [], [], set()
        for key in keys:
            matches = ((re.match(pattern, key), replacement) for pattern, replacement in self.rules)
            match, replacement = next((found for found in matches if found[0]), (None, None))
            if match and replacement is None:
                dropped.append(key)
                continue
            name = match and match.expand(replacement) + key[match.end() :]
            if name is None or name in taken:
                strange.append(key)
            else:
                names[key] = name
                taken.add(name)
        return names, dropped, strange
