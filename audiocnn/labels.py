"""The labels of a classifier in the order of its outputs, and the rules for valid label names."""

import difflib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

from audiocnn.errors import ConfigError, ManifestError
from audiocnn.text import is_formula, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Labels(Sequence[str]):
    """Label names in the order of a classifier's outputs; a sequence of these names.

    ``positive`` is the positive label of a binary classifier. If the network has one output, that is its score.

    >>> labels = Labels(("owl", "wind"), positive="owl")
    >>> len(labels), labels[1], labels.index("wind"), labels.positive_index
    (2, 'wind', 1, 0)
    """

    names: tuple[str, ...]
    positive: str | None = None

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...

    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return self.names[index]

    def __contains__(self, name: object) -> bool:
        return name in self._index_of

    def index(self, name: Any, start: int = 0, stop: int = sys.maxsize) -> int:
        """Return the index of a label; raise `ValueError` for an unknown one."""
        index: int = self._index_of.get(name, -1)
        if not max(start, 0) <= index < stop:
            raise ValueError(f"'{name}' is none of the labels")
        return index

    def encode(self, names: Iterable[str], *, unknown: int | None = None) -> "NDArray[np.intp]":
        """Return the indices (n,) of ``names``. An unknown name gives ``unknown``, or raises `ValueError` if None.

        >>> Labels(("owl", "wind")).encode(["wind", "fox"], unknown=-1).tolist()
        [1, -1]
        """
        import numpy as np

        if unknown is None:
            return np.array([self.index(name) for name in names], np.intp)
        return np.array([self._index_of.get(name, unknown) for name in names], np.intp)

    @property
    def positive_index(self) -> int | None:
        """The index of ``positive``; None if there is none."""
        return None if self.positive is None else self.index(self.positive)

    def validate(self) -> None:
        """Raise `ValueError` unless every name is unique and safe to print, and ``positive`` is one of the names."""
        if len(self._index_of) != len(self.names):
            raise ValueError("a label is given twice")
        for name in self.names:
            if fault := find_fault(name):
                raise ValueError(f"label {fault}")
        if self.positive is not None and self.positive not in self:
            raise ValueError(f"positive '{self.positive}' is none of the labels")

    def require(self, names: Iterable[str]) -> None:
        """Raise `ConfigError` for a name that is not a label of the model; the message suggests similar labels."""
        for name in names:
            if name not in self:
                by_lower = {label.lower(): label for label in self.names}
                near = [by_lower[one] for one in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
                hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(self.names)}"
                raise ConfigError(f"label '{printable(name)}': the model does not have it; {hint}")

    @cached_property
    def _index_of(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}


def valid_label(label: str, where: str) -> str:
    """Return a label name, stripped of spaces at its ends; raise `ManifestError` for an invalid one.

    The message begins with ``where``, the place of the name in a file.
    """
    label = label.strip()
    if fault := find_fault(label):
        raise ManifestError(f"{printable(where)}: label {fault}")
    return label


def find_fault(label: str) -> str:
    """Return why a label name is invalid; an empty string if it is valid."""
    if not label:
        return "is empty; name it"
    if is_formula(label):
        return f"'{printable(label)}' begins with = + - or @; rename it"
    if printable(label) != label:
        return f"'{printable(label)}' contains a control code; rename it"
    return ""
