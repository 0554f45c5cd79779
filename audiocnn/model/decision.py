"""Turn the scores of a recording into a decision: the part of a bundle that is fitted on held-out recordings."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from audiocnn.labels import Labels
from audiocnn.specs import EventSpec
from audiocnn.wording import clause

_Threshold = Annotated[float, Field(gt=0, le=1)]


Scores = NDArray[np.float64]
Doubt = Literal["", "unsure", "unfamiliar"]


class Decision(BaseModel):
    """Thresholds of labels, label sets, and the limit below which a recording is unknown.

    It is fitted on ``n_recordings`` in ``n_groups``. ``fitted_on`` is the validation part, or all folds of training and
    validation, where each recording is scored by a network trained without it.

    ``thresholds``, by label, reach the ``wanted`` precision or recall on these recordings. The label set of a recording
    has the labels with a score of at least ``set_floor``, and contains the true label in a share ``coverage`` of
    recordings. ``typical`` (n_labels, embedding_size) are unit vectors: the mean embedding of the training recordings
    of each label. A recording whose `resemblance` is below ``familiar_floor`` is unfamiliar, as is a share ``unknown``
    of the recordings of known labels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)

    fitted_on: Literal["validation", "folds"]
    n_recordings: int = Field(ge=1)
    n_groups: int = Field(ge=1)
    wanted: dict[Literal["precision", "recall"], float] = {}
    thresholds: dict[str, float] = {}
    coverage: float = Field(gt=0, lt=1)
    set_floor: float = Field(ge=0, le=1)
    unknown: float = Field(ge=0, lt=1)
    typical: list[list[float]] = []
    familiar_floor: float = -1.0

    @model_validator(mode="after")
    def _consistent(self) -> "Decision":
        if len({len(row) for row in self.typical}) > 1:
            raise ValueError("typical embeddings differ in length")
        return self

    def check(self, labels: Labels, embedding_size: int) -> None:
        """Raise `ValueError` unless this decision fits a model with these labels."""
        if not set(self.thresholds) <= set(labels):
            raise ValueError("a threshold has a label that the model does not have")
        if self.typical and (len(self.typical), len(self.typical[0])) != (len(labels), embedding_size):
            raise ValueError(f"typical embeddings are not {len(labels)} of {embedding_size} values")

    def label(self, labels: Labels, scores: Scores) -> str:
        """Return the label with the highest score; of two labels, the one whose threshold the scores reach.

        >>> rule = Decision(fitted_on="validation", n_recordings=9, n_groups=9, coverage=0.9, set_floor=0.2,
        ...     unknown=0, thresholds={"drone": 0.7})
        >>> rule.label(Labels(("drone", "other")), np.array([0.6, 0.4]))
        'other'
        """
        best = int(np.argmax(scores))
        if len(labels) == 2:
            for label, threshold in self.thresholds.items():
                index = labels.index(label)
                return labels[index if scores[index] >= threshold else 1 - index]
        return labels[best]

    def resemblance(self, scores: Scores, embedding: Scores) -> float | None:
        """Return how similar a recording is to the training recordings, None if there are no typical embeddings."""
        return resemblance(scores, embedding, np.array(self.typical)) if self.typical and len(embedding) else None

    def doubt(self, labels: Labels, scores: Scores, embedding: Scores) -> Doubt:
        """Return why a recording is unknown: a score below the threshold of its label, or a low resemblance."""
        label = self.label(labels, scores)
        if len(labels) > 2 and scores[labels.index(label)] < self.thresholds.get(label, 0.0):
            return "unsure"
        similarity = self.resemblance(scores, embedding)
        if similarity is not None and similarity < self.familiar_floor:
            return "unfamiliar"
        return ""

    def label_set(self, labels: Labels, scores: Scores) -> tuple[str, ...]:
        """Return the possible labels of a recording, most likely first; the likeliest is always among them."""
        order = np.argsort(-scores, kind="stable")
        return tuple(labels[i] for rank, i in enumerate(order) if rank == 0 or scores[i] >= self.set_floor)


def can_promise(coverage: float, n_groups: int) -> bool:
    """Return whether label sets fitted on ``n_groups`` groups can have a ``coverage`` without holding all labels.

    >>> can_promise(0.9, 9), can_promise(0.9, 8)
    (True, False)
    """
    return coverage <= n_groups / (n_groups + 1) + 1e-9


def describe_label_sets(coverage: float, n_groups: int) -> str:
    """Return what label sets contain, as the end of a sentence.

    >>> describe_label_sets(0.9, 20)
    'the true label in 90% of recordings'
    >>> describe_label_sets(0.9, 1)
    'all labels, because 1 group is too few to promise the true label in 90% of recordings'
    """
    promised = f"the true label in {coverage:.0%} of recordings"
    if can_promise(coverage, n_groups):
        return promised
    return f"all labels, because {clause(n_groups, 'group is', 'groups are')} too few to promise {promised}"


def resemblance(scores: Scores, embedding: Scores, typical: Scores) -> float:
    """Return how similar a recording is to the training recordings of its likely labels, from -1 to 1.

    This is the cosine similarity of its embedding (d,) to the typical one of each label (n_labels, d), averaged with
    ``scores`` as weights. It combines two signs of an out-of-distribution sound: an uncertain score and a distant
    embedding. After Lee et al., "A simple unified framework for detecting out-of-distribution samples", NeurIPS 2018,
    with directions instead of covariances.
    """
    length = float(np.linalg.norm(embedding))
    return float(scores @ (typical @ embedding)) / length if length else 0.0


def typical_embeddings(embeddings: Scores, target: NDArray[np.int64], n_labels: int) -> Scores:
    """Return the direction (n_labels, d) of the mean of each label's ``embeddings`` (n, d).

    >>> typical_embeddings(np.array([[2.0, 0.0], [0.0, 3.0]]), np.array([0, 1]), 2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    means = np.stack([embeddings[target == k].mean(axis=0) for k in range(n_labels)])
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return np.asarray(means / np.where(lengths > 0, lengths, 1.0))


class _FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


class MeasuredLabel(_FrozenModel):
    """The result of one label at the chosen point: ``n_found`` of the ``n_events`` mixed into the soundscapes.

    Events come from recordings of ``n_groups`` groups, none of which was used to choose the point. ``within_limit``
    tells whether the requested limit was kept on the recordings that were used to choose it.
    """

    n_events: int = Field(ge=0)
    n_found: int = Field(ge=0)
    n_groups: int = Field(ge=0)
    recall: float = Field(ge=0, le=1)
    false_alarms_per_hour: float = Field(ge=0)
    within_limit: bool


class OperatingPoint(_FrozenModel):
    """Thresholds by label, and the smoothing, minimum duration and maximum gap of events, as in `EventSpec`.

    It was measured on ``hours`` of soundscapes with a ``background`` of recordings or noise, and events ``snr_db``
    (lowest, highest) above it; or by review, on an archive of ``hours``, of which ``snr_db`` is not known and 0.
    ``measured`` has all labels that were tried; one without a threshold keeps its default.
    ``wanted_false_alarms`` is the requested limit per hour. ``model`` is the digest of the bundle without any operating
    point.
    """

    thresholds: dict[str, _Threshold] = Field(min_length=1)
    smooth_s: float = Field(ge=0, le=10)
    min_duration_s: float = Field(ge=0, le=86_400)
    max_gap_s: float = Field(ge=0, le=86_400)
    wanted_false_alarms: float = Field(ge=0)
    hours: float = Field(gt=0)
    background: Literal["recordings", "noise", "archive"]
    snr_db: tuple[float, float]
    seed: int = Field(ge=0)
    measured: dict[str, MeasuredLabel]
    model: str = Field(pattern="^[0-9a-f]{64}$")

    def check(self, labels: Sequence[str]) -> None:
        """Raise `ValueError` unless this point fits a model with these labels."""
        if not {*self.thresholds, *self.measured} <= set(labels):
            raise ValueError("the operating point has a label that the model does not have")

    def fill_unset(self, spec: EventSpec, labels: Labels) -> EventSpec:
        """Return ``spec`` with the values of this point for the fields that are not set.

        Of two ``labels`` only those that were tried make events, unless ``spec`` names some.

        >>> point = OperatingPoint(thresholds={"owl": 0.9}, smooth_s=1.0, min_duration_s=0.5, max_gap_s=0.2,
        ...     wanted_false_alarms=1.0, hours=1.0, background="noise", snr_db=(0.0, 10.0), seed=0, measured={},
        ...     model="0" * 64)
        >>> filled = point.fill_unset(EventSpec(smooth_s=0.0), Labels(("fox", "owl", "wind")))
        >>> filled.thresholds, filled.smooth_s, filled.min_duration_s
        ({'owl': 0.9}, 0.0, 0.5)
        """
        given = spec.model_fields_set
        timing = {
            name: getattr(self, name) for name in ("smooth_s", "min_duration_s", "max_gap_s") if name not in given
        }
        tuned: Mapping[str, float] = {} if spec.threshold is not None else self.thresholds
        values = {**timing, "thresholds": {**tuned, **spec.thresholds}}
        if len(labels) == 2 and not spec.labels:
            values["labels"] = tuple(label for label in labels if label in {*self.thresholds, *self.measured})
        return spec.model_copy(update=values)
