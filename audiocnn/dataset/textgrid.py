"""Read Praat TextGrids, in the long and the short text format.

Praat Manual, "TextGrid file formats": Praat reads the free-standing numbers, texts in quotes and flags in ``<>``, in
their order, and nothing else; so both formats are one. A quote in a text is doubled, ``!`` begins a comment.
"""

import re
from collections.abc import Iterator

from audiocnn.dataset.delimited import missing_column
from audiocnn.dataset.stretches import AnnotationRow
from audiocnn.errors import ManifestError
from audiocnn.text import printable

_TOKEN = re.compile(
    r'"(?P<text>(?:[^"]|"")*)"|(?<!\S)(?P<number>[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)(?!\S)|(?<!\S)![^\n]*', re.IGNORECASE
)
_HEAD = re.compile(r'\s*(?:File type\s*=\s*)?"ooTextFile[^"]*"\s+(?:Object class\s*=\s*)?"TextGrid', re.IGNORECASE)


def detect(text: str) -> bool:
    """Whether a text is a TextGrid."""
    return _HEAD.match(text) is not None


def read(text: str, name: str, tier: str | None) -> list[AnnotationRow]:
    """Return the intervals and points with a text; ``tier`` is needed if several tiers have some.

    Raise `ManifestError` for a file that ends early, or an ambiguous or missing tier.
    """
    try:
        tiers = _tiers(_tokens(text), tier)
    except (StopIteration, ValueError):
        raise ManifestError(f"{name}: is not a complete TextGrid; save it again in Praat as a text file") from None
    filled = [title for title, rows in tiers.items() if rows]
    if tier is not None:
        title = next((title for title in tiers if title.lower() == tier.strip().lower()), None)
        if title is None:
            raise ManifestError(f"{name}: {missing_column(list(tiers), tier).replace('column', 'tier')}")
        return tiers[title]
    if len(filled) > 1:
        listed = ", ".join(printable(title) for title in filled)
        raise ManifestError(f"{name}: cannot tell which tier holds the labels; pass --label-column NAME: {listed}")
    return [row for title in filled for row in tiers[title]]


def _tokens(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and value of numbers and texts."""
    line, last = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", last, match.start())
        last = match.start()
        if match["text"] is not None:
            yield line, match["text"].replace('""', '"')
        elif match["number"] is not None:
            yield line, match["number"]


def _tiers(tokens: Iterator[tuple[int, str]], tier: str | None) -> dict[str, list[AnnotationRow]]:
    """Return the rows with a text by the name of their tier; raise `StopIteration` or `ValueError` if some lack."""
    for _ in range(4):  # file type, class, start and end of the whole
        next(tokens)
    tiers: dict[str, list[AnnotationRow]] = {}
    for _ in range(int(next(tokens)[1])):
        (_, kind), (_, title) = next(tokens), next(tokens)
        next(tokens), next(tokens)  # start and end of the tier
        rows = tiers.setdefault(title, [])
        for _ in range(int(next(tokens)[1])):
            line, start = next(tokens)
            end = next(tokens)[1] if kind == "IntervalTier" else start
            label = next(tokens)[1]
            if label.strip():
                rows.append(AnnotationRow(line, start, end, label))
    return tiers
