"""Maps of what mattered as the sections on gradients show them: a picture, and how far it agrees with occlusion."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from audiocnn.features.extract import Array
from audiocnn.results.explanation import pictures
from audiocnn.results.explanation.finding import Work
from audiocnn.results.report.words import NBSP, clock


@dataclass(frozen=True)
class Shown:
    """A map over the spectrogram of a stretch; ``agreement`` says how it compares with that of occlusion."""

    title: str
    label: str
    picture: Markup
    agreement: str


def shown(work: Work, maps: Sequence[Array], agreements: Sequence[float | None], method: str) -> list[Shown]:
    """Return what is shown of each subject of the work, all on one scale."""
    end = pictures.limit(maps)
    return [
        Shown(
            title=f"{clock(subject.start_s)} to {clock(subject.end_s)}",
            label=work.label_of(subject),
            picture=pictures.drawn(subject, title=f"{method} for {work.label_of(subject)}", values=values, limit=end),
            agreement=agreed(correlation),
        )
        for subject, values, correlation in zip(work.subjects, maps, agreements, strict=True)
    ]


def files(work: Work, maps: Sequence[Array], name: str) -> dict[str, bytes]:
    """Return the maps as they are kept in the folder."""
    suffixes = [""] if work.whole else [f"-{number}" for number in range(1, len(maps) + 1)]
    return {f"{name}{suffix}.npy": pictures.npy(values) for suffix, values in zip(suffixes, maps, strict=True)}


def agreed(correlation: float | None) -> str:
    """Return what a rank correlation with the map of occlusion means.

    >>> agreed(0.684).replace(NBSP, " ")
    'Agreement with hiding places: rank correlation 0.68, which is much.'
    """
    if correlation is None:
        return "The map is the same everywhere, so there is no order of places to compare with that of hiding places."
    written = f"{correlation:.2f}".replace("-", "\N{MINUS SIGN}")
    much = "which is much" if correlation >= 0.6 else "which is fair" if correlation >= 0.3 else "which is little"
    advice = "" if correlation >= 0.3 else ": trust what both show, and hiding places more than this"
    return f"Agreement with hiding places: rank correlation{NBSP}{written}, {much}{advice}."
