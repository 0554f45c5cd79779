"""What a method is given, and what it gives back: a section of the page, and files beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from markupsafe import Markup

from audiocnn.config import Project
from audiocnn.explain import occlusion, odds
from audiocnn.explain.subject import Subject
from audiocnn.features.extract import Array
from audiocnn.model.bundle import Bundle
from audiocnn.progress import Progress
from audiocnn.results.aggregate import Prediction

if TYPE_CHECKING:
    from audiocnn.model.gradients import Gradients

Neutral = Literal["mean", "noise"]


@dataclass(frozen=True, eq=False)  # arrays do not compare to one truth
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

    # What several methods need is computed when the first of them asks for it.

    @cached_property
    def gradients(self) -> "Gradients":
        """The network with its gradients; raises what `Gradients` raises. TensorFlow takes a few seconds to load."""
        from audiocnn.model.gradients import Gradients

        with self.progress.task("load the network with its gradients", total=1, unit="networks") as advance:
            loaded = Gradients(self.model)
            advance()
        return loaded

    @cached_property
    def occlusion_maps(self) -> list[Array]:
        """The map (n_frames, n_mels) of every subject that hiding places gives."""
        maps = []
        total = sum(int(subject.counted.sum()) for subject in self.subjects)
        with self.progress.task("hide and ask", total=total, unit="windows") as advance:
            for subject in self.subjects:
                level, _ = occlusion.neutral(self.model, subject, self.neutral)
                ask = odds.asker(self.model, subject.label)
                maps.append(occlusion.importance(subject, ask, level, advance=advance))
        return maps


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
