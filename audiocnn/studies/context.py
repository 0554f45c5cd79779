"""What all studies share: they train networks like the model on other recordings, to measure something about it.

Predictions of these networks are kept in files and read back if nothing that they depend on has changed.
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
    """Training data, training settings, recordings by part, and the folder for files.

    ``settings`` identify the model that is studied.
    """

    task: TrainingData
    spec: TrainSpec
    evaluate: EvaluateSpec
    parts: Mapping[str, Sequence[Recording]]
    folder: Path
    settings: Mapping[str, Any]
    progress: Progress

    def train_and_predict(
        self,
        name: str,
        task: TrainingData,
        spec: TrainSpec,
        *,
        train: Sequence[Recording] | Windows,
        held_out: Sequence[Recording],
        with_typical: bool = False,
    ) -> OutOfFold:
        """Train a network and return its predictions for ``held_out``, which are kept in the file ``name``."""
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
    """Return the group of every recording, as the split merges them."""
    return split.merge_groups(recordings, task.contents)
