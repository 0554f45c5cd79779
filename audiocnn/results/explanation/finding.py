"""What a method is given, and what it gives back: a section of the page, and files beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from markupsafe import Markup

from audiocnn.config import Project
from audiocnn.explain.subject import Subject
from audiocnn.model.bundle import Bundle
from audiocnn.progress import Progress
from audiocnn.results.aggregate import Prediction

Neutral = Literal["mean", "noise"]


@dataclass(frozen=True, eq=False)  # told apart by identity, so that what several methods need can be kept for them
class Work:
    """A prediction to be explained.

    ``subjects`` are what is explained of it, the strongest first: the whole recording as the only one, or moments of a
    long one. ``neutral`` is what hidden places become. ``top`` is how many of anything are to be shown. ``project`` is
    where the model may have been trained, if there is one. Other recordings are decoded in ``jobs`` processes.
    ``filters`` is how many of a layer are shown.
    """

    model: Bundle
    prediction: Prediction
    subjects: Sequence[Subject]
    whole: bool
    neutral: Neutral
    top: int
    progress: Progress
    project: Project | None = None
    jobs: int = 1
    filters: int = 16

    def label_of(self, subject: Subject) -> str:
        return self.model.labels[subject.label]


@dataclass(frozen=True)
class Section:
    """A part of the page: ``id`` is its anchor, ``body`` markup without a heading of the second order."""

    id: str
    title: str
    body: Markup


@dataclass(frozen=True)
class Finding:
    """What a method has found: a section, files by their names in the folder, and facts for ``explanation.json``."""

    section: Section
    files: Mapping[str, bytes] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
