"""The demo with small corpora and networks: every step of it, and its refusal to write over what is not its own."""

import json
from pathlib import Path

import prefork
import pytest
from projects import audiocnn

pytestmark = pytest.mark.slow

# Under the guard, as worker processes import this, too.
SMALLER = """
if __name__ == "__main__":
    import re
    from functools import partial
    from audiocnn import cli, config, demo

    def read(file):
        text = re.sub("^  epochs: .*", "  epochs: 1", file.read_text(), flags=re.M)
        text = re.sub("^  explain: .*", "  explain: 1", text, flags=re.M)
        file.write_text(re.sub("^model: .*", 'model: "4C3S2-GAP-*"', text, flags=re.M))
        return config.read(file)

    demo.read = read
    demo.synthesis.instrument_clips = partial(demo.synthesis.instrument_clips, n_players=3, n_recordings=1)
    demo.synthesis.rotor_clips = partial(demo.synthesis.rotor_clips, n_sessions=4, n_recordings=4)
    cli.main()
"""


def test_the_demo_goes_the_whole_path_three_times(tmp_path: Path) -> None:
    (tmp_path / "smaller.py").write_text(SMALLER)
    done = prefork.run_script(tmp_path / "smaller.py", "demo", "--out", "shown", "--jobs", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for question in ("players in training", "new players", "new places"):
        assert question in done.stdout
    assert done.stderr.count("$ audiocnn init") == done.stderr.count("$ audiocnn run") == 3
    for folder, name in (
        ("instruments-known-players", "instruments"),
        ("instruments-new-players", "instruments"),
        ("rotors-new-places", "rotors"),
    ):
        made = tmp_path / "shown" / folder / "runs" / name
        accuracy = json.loads((made / "metrics.json").read_text())["recording"]["accuracy"]["value"]
        assert f"{accuracy:.3f}" in done.stdout
        assert (made / "report.html").is_file()
    known, new = (
        json.loads((tmp_path / "shown" / f / "runs/instruments/split.json").read_text())["parts"]
        for f in ("instruments-known-players", "instruments-new-players")
    )
    players = [{path.split("_take")[0] for path in new[part]} for part in ("train", "validation", "test")]
    assert not players[0] & players[2]
    assert not players[1] & players[2]
    assert set(sum(known.values(), [])) == set(sum(new.values(), []))  # noqa: RUF017 - three short lists


def test_the_demo_writes_over_nothing_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    done = audiocnn("demo", "--out", "mine", cwd=tmp_path, code=2)
    assert "pass another folder with --out DIR" in done.stderr
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
