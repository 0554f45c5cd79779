"""Thresholds that a report saved are read by predict, by evaluate and in Python."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds
from projects import audiocnn

import audiocnn as package
from audiocnn.errors import ConfigError
from audiocnn.model import thresholds_file
from audiocnn.model.locate import SHIPPED


def saved(file: Path, model: str = "", **thresholds: object) -> Path:
    """Write a file as the button of the report does (exportThresholds in page.js)."""
    lines = ",\n".join(f"    {json.dumps(label)}: {json.dumps(value)}" for label, value in thresholds.items())
    schema = '{\n  "schema": "audiocnn.thresholds/1",\n  "model": '
    file.write_text(f'{schema}{json.dumps(model)},\n  "thresholds": {{\n{lines}\n  }}\n}}\n')
    return file


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "not JSON"),
        ("[]", "valid dictionary"),
        ('{"thresholds": {"Flute": 0.5}}', "has no schema audiocnn.thresholds/1"),
        ('{"schema": "audiocnn.metrics/1", "thresholds": {"Flute": 0.5}}', "schema: 'audiocnn.metrics/1': input"),
        ('{"schema": "audiocnn.thresholds/1"}', "thresholds: field required"),
        ('{"schema": "audiocnn.thresholds/1", "thresholds": {}}', "at least 1 item"),
        ('{"schema": "audiocnn.thresholds/1", "thresholds": {"Flute": 1.5}}', "thresholds: Flute: 1.5: input should"),
        ('{"schema": "audiocnn.thresholds/1", "thresholds": {"Flute": -0.1}}', "thresholds: Flute: -0.1: input"),
        ('{"schema": "audiocnn.thresholds/1", "thresholds": {"Flute": NaN}}', "finite number"),
        ('{"schema": "audiocnn.thresholds/1", "thresholds": {"Flute": "0.5"}}', "thresholds: Flute: '0.5': input"),
        ('{"schema": "audiocnn.thresholds/1", "thresholds": {"Flute": 0.5}, "x": 1}', "x: 1: extra inputs"),
    ],
)
def test_another_file_is_refused_in_one_line_with_its_fault(tmp_path: Path, content: str, fault: str) -> None:
    file = tmp_path / "thresholds.json"
    file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        thresholds_file.read(file)
    line = str(caught.value)
    assert line.startswith(f"{file}: ") and fault in line and "\n" not in line


def test_in_python_a_model_takes_them_from_a_file_or_a_mapping(tmp_path: Path) -> None:
    tone = sounds.tone(440, 1.5)
    model = package.load_model()
    plain = model.predict(tone, sample_rate=sounds.RATE)
    strict = model.with_thresholds(saved(tmp_path / "t.json", **{plain.label: 1}))
    found = strict.predict(tone, sample_rate=sounds.RATE)
    assert (found.status, found.doubt, found.label) == ("unknown", "unsure", plain.label)
    assert found.scores.tolist() == plain.scores.tolist()
    easy = model.with_thresholds({plain.label: 0})
    assert easy.predict(tone, sample_rate=sounds.RATE).doubt != "unsure"
    with pytest.raises(ConfigError, match="thresholds: label 'flute': the model does not have it; did you mean Flute"):
        model.with_thresholds({"flute": 0.5})
    with pytest.raises(ConfigError, match="thresholds: Flute: 2"):
        model.with_thresholds({"Flute": 2})


@pytest.mark.slow
def test_predict_takes_them_for_recordings_and_events_and_refuses_what_does_not_fit(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sounds.tone(440, 1.5), sounds.RATE)
    labels = package.load_model().labels
    all_of = saved(tmp_path / "all.json", **dict.fromkeys(labels, 1.0))
    done = audiocnn("predict", "a.wav", "--format", "json", "--thresholds", all_of, cwd=tmp_path)
    (row,) = json.loads(done.stdout)["recordings"]
    assert row["status"] == "unknown" and "unsure" in row["reason"] and "another model" not in done.stderr
    some = saved(tmp_path / "some.json", model="f" * 64, Flute=0.25, Cello=0)
    events = ("predict", "a.wav", "--events", "--format", "json", "--thresholds", some)
    done = audiocnn(*events, "--threshold", "Flute=0.75", cwd=tmp_path)
    assert json.loads(done.stdout)["event_settings"]["thresholds"] == {
        "Flute": 0.75,
        "Cello": pytest.approx(0, abs=1e-6),
    }
    assert "was saved for another model (ffffffffffff)" in done.stderr
    wrong = saved(tmp_path / "wrong.json", Kazoo=0.5)
    for arguments, fault in (
        (("--thresholds", wrong), "wrong.json: label 'Kazoo': the model does not have it"),
        (("--thresholds", wrong, "--events"), "wrong.json: label 'Kazoo': the model does not have it"),
        (("--thresholds", all_of, "--windows"), "--thresholds is for recordings and events"),
        (("--thresholds", "a.wav"), "a.wav: not JSON"),
        (("--thresholds", "none.json"), "none.json: cannot be read"),
    ):
        assert fault in audiocnn("predict", "a.wav", *arguments, cwd=tmp_path, code=2).stderr


def test_without_rules_of_its_own_a_model_gets_thresholds_and_nothing_else() -> None:
    model = package.load_model(SHIPPED).bundle
    bare = type(model)(
        model.folder, model.info.model_copy(update={"decision": None}), model.digest, model.frontend, model.runtime
    )
    changed = thresholds_file.with_thresholds(bare, {"Flute": 0.5}, "t.json").decision
    assert changed is not None and changed.thresholds == {"Flute": 0.5} and changed.typical == []
    assert changed.label_set(model.labels, np.linspace(1, 0, len(model.labels))) == tuple(model.labels)
