"""One time limit for all decoding: it ends a decoder without progress, never a slow one."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiocnn import config
from audiocnn.audio import decode, workers
from audiocnn.audit import duplicates
from audiocnn.config import Project
from audiocnn.dataset import class_folders, manifest
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError
from audiocnn.event_tuning import background
from audiocnn.progress import Progress
from audiocnn.specs import DataSpec, Experiment
from audiocnn.stages import featurize, init

LIMIT_S, BLOCK_S, N_BLOCKS = 1.0, 0.125, 12  # each block comes in time, all of them take longer than the limit
RATE = 8_000
SLOW, HUNG = "a/slow.flac", "b/hung.flac"  # the second is the one in stereo


def code(outcome: object) -> str:
    return outcome.code if isinstance(outcome, AudioError) else "ok"


def by_init() -> Mapping[str, str]:
    nothing = dict.fromkeys(("name", "preset", "group_by", "root", "background"))
    done = init.run(
        Path("sounds"), **nothing, out=Path(), allow_outside=False, force=False, jobs=2, progress=Progress()
    )
    unreadable = done.survey.unreadable
    return {path: code(unreadable.get(path)) for path in (SLOW, HUNG)}


def by_audit() -> Mapping[str, str]:
    found = duplicates.search(
        class_folders.read(Path("sounds")), Path("sounds"), cached=None, jobs=2, progress=Progress()
    )
    return {path: code(found.unreadable.get(path, found.fingerprints.get(path))) for path in (SLOW, HUNG)}


def by_featurize() -> Mapping[str, str]:
    listed = [Recording(path=path, label=path[0], group=path) for path in (SLOW, HUNG)]
    manifest.write(Path("manifest.csv"), listed)
    preset, data = config.read_preset("instrument"), DataSpec(manifest="manifest.csv", root="sounds")
    experiment = Experiment(**{name: getattr(preset, name) for name in type(preset).model_fields}, name="x", data=data)
    project = Project(Path("audiocnn.yaml"), experiment)
    statuses = featurize.run(project, jobs=2, progress=Progress()).statuses
    return {path: a.status if a.status == "ok" else a.codes[0] for path, a in statuses.items()}


def by_tune_events() -> Mapping[str, str]:
    files, spec = [Path("sounds", name) for name in (SLOW, HUNG)], config.read_preset("instrument").features
    found = background.collect_background(files, total_s=3600, folder=Path("scratch"), spec=spec, jobs=2, seed=(0,))
    usable = {(SLOW, HUNG)[int(clip.file.stem)]: "ok" for clip in found.clips}
    return usable | {(SLOW, HUNG)[index]: error.code for index, error in found.unusable}


USERS: dict[str, Callable[[], Mapping[str, str]]] = {
    "init": by_init,
    "audit": by_audit,
    "featurize": by_featurize,
    "tune-events": by_tune_events,
}
normal = soundfile.SoundFile.read


def slow(file: soundfile.SoundFile, *args: object, **how: object) -> object:
    while file.channels == 2:
        time.sleep(1)
    time.sleep(BLOCK_S)
    return normal(file, *args, **how)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers that are not forked have the usual decoder")
@pytest.mark.parametrize(
    "user", ["init", *(pytest.param(user, marks=pytest.mark.slow) for user in ("audit", "featurize", "tune-events"))]
)
def test_a_decoder_without_progress_is_ended_and_a_slow_one_is_not(user: str, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-9_000, 9_000, (N_BLOCKS * decode.BLOCK, 2)).astype(np.int16)
    for name, its in {SLOW: samples[:, :1], HUNG: samples}.items():
        (tmp_path / "sounds" / name).parent.mkdir(parents=True)
        soundfile.write(tmp_path / "sounds" / name, its, RATE)
    # A process of its own, as workers are forked and have the slow decoder only beside no TensorFlow.
    done = subprocess.run([sys.executable, __file__, user], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {SLOW: "ok", HUNG: "timeout"}


if __name__ == "__main__":
    workers.TIME_LIMIT_S = LIMIT_S
    soundfile.SoundFile.read = slow
    print(json.dumps(USERS[sys.argv[1]]()))
