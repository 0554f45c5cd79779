"""Commands on a model of several networks: what info, verify, export, train and tune-events do with one."""

import shutil
from pathlib import Path

import pytest
import soundfile
import sounds
from ensembles import LOGMEL, MFCC, write_ensemble
from extras import require_keras
from projects import audiocnn, tones

from audiocnn import config
from audiocnn.errors import ConfigError
from audiocnn.model.open_model import open_model, read_model, update_model
from audiocnn.progress import Progress
from audiocnn.stages import export, info, tune_events, verify
from audiocnn.stages.tune_events import TuneEventsOptions

pytestmark = pytest.mark.slow

require_keras()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two networks, with weights that differ."""
    return write_ensemble(tmp_path_factory.mktemp("made") / "model", weights=[0.25, 0.75]).folder


@pytest.fixture
def model(made: Path, tmp_path: Path) -> Path:
    """A copy to change, with the trainings of its members where train leaves them."""
    run = tmp_path / "runs" / "mine"
    for name in ("wide", "fine"):
        shutil.copytree(made / "members" / name, run / "members" / name / "model")
    return Path(shutil.copytree(made, run / "model"))


def test_info_describes_each_network_and_adds_up_what_a_second_of_audio_costs(made: Path) -> None:
    summary = info.run(made)
    wide, fine = summary.members["wide"], summary.members["fine"]
    assert (wide.weight, fine.weight) == (0.25, 0.75)
    assert (wide.spec, fine.spec) == (LOGMEL, MFCC)
    assert summary.n_params == wide.layers.n_params + fine.layers.n_params
    assert summary.multiply_adds_per_second == pytest.approx(
        wide.layers.multiply_adds / 0.2 + fine.layers.multiply_adds / 0.1
    )
    printed = summary.as_json()
    assert printed["window"]["hop_s"] == MFCC.hop_s  # of the windows that have scores
    assert [(one["name"], one["weight"]) for one in printed["members"]] == [("wide", 0.25), ("fine", 0.75)]
    assert printed["network"]["n_params"] == sum(one["network"]["n_params"] for one in printed["members"])


def test_the_table_of_info_names_each_network_with_its_weight(made: Path, tmp_path: Path) -> None:
    lines = audiocnn("info", made, cwd=tmp_path).stdout.splitlines()
    heads = [line.split() for line in lines if line.startswith("member ")]
    assert heads == [["member", "wide", "weight", "0.25"], ["member", "fine", "weight", "0.75"]]
    assert len([line for line in lines if line.startswith("window ")]) == 2


def test_verify_counts_a_model_with_its_members_once(model: Path) -> None:
    assert verify.run(model, progress=Progress()).models == [model]
    whole = verify.run(model.parent, progress=Progress())
    assert whole.models == [model, *(model.parent / "members" / name / "model" for name in ("fine", "wide"))]
    assert (whole.n_features, whole.damaged) == (0, [])
    assert verify.run(model / "members" / "wide", progress=Progress()).models == [model / "members" / "wide"]


@pytest.mark.parametrize("name", ["weights.safetensors", "model.tflite", "golden.npz"])
def test_verify_names_the_damaged_file_of_a_member_once(model: Path, name: str) -> None:
    damaged = model / "members" / "fine" / name
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    (line,) = verify.run(model.parent, progress=Progress()).damaged
    assert line.startswith(f"{damaged}: damaged")


def test_a_model_of_several_networks_is_exported_member_by_member(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has 2 networks") as refused:
        export.run(model, form="tflite", progress=Progress())
    assert f"--model {model / 'members' / 'wide'} or --model {model / 'members' / 'fine'}" in str(refused.value)
    written = export.run(model / "members" / "fine", form="tflite", out=tmp_path / "fine.tflite", progress=Progress())
    assert written.path.read_bytes() == (model / "members" / "fine" / "model.tflite").read_bytes()


def test_training_does_not_begin_with_the_weights_of_several_networks(model: Path) -> None:
    from audiocnn.model.notation import parse
    from audiocnn.training import transfer

    net = parse("4C3-P2-6-*", input_shape=LOGMEL.shape, n_labels=3)
    with pytest.raises(ConfigError, match="initial weights are those of one of them; pass --init-from"):
        transfer.from_bundle(model, net, LOGMEL)
    assert transfer.from_bundle(model / "members" / "wide", net, LOGMEL).layers == {"conv_1"}


def _project(folder: Path) -> Path:
    """A project of tones with the two networks as its members; nothing is trained."""
    tones(folder / "sounds", 4)
    rows = [f"{file.relative_to(folder / 'sounds')},{file.parent.name}" for file in (folder / "sounds").rglob("*.wav")]
    (folder / "manifest.csv").write_text("\n".join(["path,label", *sorted(rows)]) + "\n")
    members = {
        name: {"features": spec.model_dump(mode="json"), "model": "4C3-P2-6-*", "train": {"epochs": 1, "patience": 1}}
        for name, spec in (("wide", LOGMEL), ("fine", MFCC))
    }
    settings = {
        "name": "mine",
        "data": {"manifest": "manifest.csv", "root": "sounds"},
        "split": {"test": 0.2, "validation": 0.2},
        "members": members,
    }
    (folder / "audiocnn.yaml").write_text(config.to_yaml(settings))
    return folder / "audiocnn.yaml"


def test_events_are_tuned_on_soundscapes_at_the_highest_sample_rate_and_forgotten_without_a_trace(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update_model(model, {}, card="# model\n\n## What it is not for\nOther sounds.\n")
    project, before, digest = config.read(_project(tmp_path)), _contents(model), open_model(model).digest
    rates = []

    def watched(files, *arguments, **options):
        rates.extend(soundfile.info(file).samplerate for file in files)
        return score_files(files, *arguments, **options)

    score_files = tune_events.score_files
    monkeypatch.setattr(tune_events, "score_files", watched)
    (tmp_path / "place").mkdir()
    soundfile.write(tmp_path / "place" / "wind.wav", sounds.noise(20, 16_000, level=0.02), 16_000)
    result = tune_events.run(
        project, [str(tmp_path / "place")], model=model, store=True, output=tmp_path / "out", jobs=1,
        options=TuneEventsOptions(hours=0.12, per_hour=200, false_alarms=10_000, labels=("low",)), progress=Progress(),
    )  # fmt: skip
    assert set(rates) == {LOGMEL.sample_rate}
    assert result.stored_in == model
    loaded = open_model(model)
    assert loaded.operating is not None and loaded.operating.thresholds
    assert "## Event detection" in read_model(model)[2]["MODEL_CARD.md"].decode()
    assert loaded.scores_digest == digest
    assert tune_events.forget(None, model)[1] == loaded.operating
    assert _contents(model) == before


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
