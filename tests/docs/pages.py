"""The pages of the documentation, taken apart: links, anchors, code blocks and code spans."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CARD = ROOT / 'mmseg_bisenet' / 'weights' / 'README.md'
# The pages whose code is checked; the others have links only.
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', CARD, *sorted((ROOT / 'docs').glob('*.md'))]
FOLDERS = ('.', 'docs', 'configs/bisenetv1', 'configs/bisenetv2', 'mmseg_bisenet/weights', 'results')
ALL_PAGES = sorted(page for folder in FOLDERS for page in (ROOT / folder).glob('*.md'))
FENCE = re.compile(r'(?:<!-- not run: ([^\n]+) -->\n)?^```(\w*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
ASSIGNMENT = re.compile(r'(\w+)=(.*)')


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and why no test runs it."""

    language: str
    text: str
    not_run: str


def blocks(page: Path) -> list[Block]:
    return [Block(language, text, reason) for reason, language, text in FENCE.findall(page.read_text())]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub('', page.read_text())


def spans(page: Path) -> list[str]:
    """What stands between backticks."""
    return re.findall(r'`([^`\n]+)`', prose(page))


def links(page: Path) -> list[str]:
    """Targets of links and pictures inside the repository."""
    targets = re.findall(r'\]\(([^)\s]+)\)', re.sub(r'`[^`\n]+`', '', prose(page)))
    return [target for target in targets if '://' not in target]


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r'^#+ (.+)$', prose(page), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def commands(block: Block) -> list[list[str]]:
    """The words of each command of a shell block, without variables in front; ``$NAME`` is replaced."""
    variables, found = {}, []
    for line in block.text.replace('\\\n', ' ').splitlines():
        words = shlex.split(line, comments=True)
        while '&&' in words:
            found.append(words[: words.index('&&')])
            words = words[words.index('&&') + 1 :]
        found.append(words)
    for words in found:
        while words and (match := ASSIGNMENT.fullmatch(words[0])):
            variables[f'${match[1]}'] = match[2]
            del words[0]
        words[:] = [variables.get(word, word) for word in words]
    return [words for words in found if words]
