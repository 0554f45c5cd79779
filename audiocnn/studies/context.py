"""What studies have in common: networks like the model itself, trained otherwise, to learn something about it.

What was trained is kept in files and read back if nothing that it depends on has changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiocnn.dataset import split
from audiocnn.dataset.manifest import Recording
from audiocnn.features.windows import Windows
from audiocnn.progress import Progress
from audiocnn.specs import EvaluateSpec, TrainSpec
from audiocnn.training import out_of_fold
from audiocnn.training.dataset import TrainingData
from audiocnn.training.out_of_fold import OutOfFold


@dataclass(frozen=True)
class StudyContext:
    """What studies have in common: the task, how networks are trained, the recordings of every part, where files go.

    ``settings`` are what the model itself depends on.
    """

    task: TrainingData
    spec: TrainSpec
    evaluate: EvaluateSpec
    parts: Mapping[str, Sequence[Recording]]
    folder: Path
    settings: Mapping[str, Any]
    progress: Progress

    def judge(
        self,
        name: str,
        task: TrainingData,
        spec: TrainSpec,
        *,
        train: Sequence[Recording] | Windows,
        held_out: Sequence[Recording],
        with_typical: bool = False,
    ) -> OutOfFold:
        """Teach a network and ask it about ``held_out``; ``name`` is that of its file."""
        file = self.folder / f"{name}.heldout"
        settings = {
            **self.settings,
            "train": spec.model_dump(mode="json"),
            "study": name,
            "n": [len(train), len(held_out)],
        }
        return out_of_fold.train_and_predict(
            task,
            spec,
            train=train,
            validation=[r for r in self.parts["validation"] if r.label in task.labels],
            held_out=held_out,
            file=file,
            settings=settings,
            fresh=False,
            progress=self.progress,
            with_typical=with_typical,
        )


def groups_of(task: TrainingData, recordings: Sequence[Recording]) -> list[str]:
    """Return the group of every recording, as the split sees it."""
    return split.merge_groups(recordings, task.contents)
