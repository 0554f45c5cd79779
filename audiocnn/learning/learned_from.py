"""What the recordings are like that a network learned from, summed up from the store for its bundle."""

from collections.abc import Sequence

from audiocnn.dataset.manifest import Recording
from audiocnn.features import character, extract
from audiocnn.features.character import Character
from audiocnn.learning.task import Task
from audiocnn.model import domain as model_domain
from audiocnn.model.domain import Domain


def can_be_told(task: Task, recordings: Sequence[Recording]) -> bool:
    """Tell whether there is a `domain` of these: slopes tell nothing, and few recordings no range."""
    return "static" in task.store.spec.channels and len(recordings) >= model_domain.FEWEST


def domain(task: Task, recordings: Sequence[Recording], resemblances: Sequence[float]) -> Domain | None:
    """Return what usable recordings of ``task`` are like, without their altered copies; None if it cannot be told.

    ``resemblances`` are those of recordings that were judged by a network that had not learned from them.
    """
    if not can_be_told(task, recordings):
        return None
    found = [_character(task, recording) for recording in recordings]
    return model_domain.of([c for c in found if c is not None], resemblances)


def _character(task: Task, recording: Recording) -> Character | None:
    account, spec = task.accounts[recording.path], task.store.spec
    span = extract.span(account.n_frames, spec, recording.stretch)
    return character.of(task.store.frames(account), spec, spec.n_tracks(account.n_channels), span)
