"""The page of a review: who may ask for what, and a whole review by keyboard in a real browser."""

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sounds
from browser import AXE, chromium

from audiocnn.audio import encode
from audiocnn.draw import spectrogram
from audiocnn.errors import ConfigError
from audiocnn.review import clips
from audiocnn.review.answers import AnswerFile
from audiocnn.review.draw import Draw, DrawnUnit
from audiocnn.review.units import Stratum

pytest.importorskip("uvicorn", reason="needs the [review] extra")

from audiocnn.review import server
from audiocnn.review.server import ReviewServer

LABELS = ("drum", "flute", "<owl>")
N_CLIPS = 4


def make_review(folder: Path) -> Draw:
    """A review of four clips of 7 s, as the command leaves it after the draw."""
    units = tuple(
        DrawnUnit(
            clip=f"{i + 1}", recording=f"secret place/{i}.wav", file=f"/{i}.wav", sha256="", start_s=3.0, end_s=6.0,
            label="flute", score=0.9, stratum=1, chance=0.5, group=f"{i}", reserved=False,
        )
        for i in range(N_CLIPS)
    )  # fmt: skip
    draw = Draw(
        model="0" * 64, model_name="<model>", labels=LABELS, positive=None, edges={"flute": (0.5,)},
        strata=(Stratum("no event"), Stratum("flute 0.5 to 1", "flute", 0.5, 1.0)), unit_s=3.0,
        n_units=((10, 8), (0, 0)), hours=(0.1, 0.0), n_recordings=4, n_groups=4, grouped_by="recording", recordings="",
        seed=0, units=units,
    )  # fmt: skip
    for i, unit in enumerate(units):
        file = clips.clip_file(folder, unit)
        file.parent.mkdir(parents=True, exist_ok=True)
        encode.write(file, 0.1 * sounds.tone(300 * (i + 1), 7, spectrogram.SAMPLE_RATE), spectrogram.SAMPLE_RATE)
    (folder / "draw.json").write_text(json.dumps(draw.as_dict()))
    return draw


@dataclass
class Served:
    address: str
    token: str
    folder: Path
    draw: Draw

    def ask(self, path: str, body: Any = None, *, token: str | None = None, **headers: str) -> tuple[int, Any]:
        """Return the status and the decoded answer of a request."""
        given = {"X-Token": self.token if token is None else token, **headers}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, given)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                content = answer.read().decode()
                return answer.status, json.loads(content) if content.startswith("{") else content
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def answers(self) -> dict[str, str]:
        return {clip: answer.text or answer.kind for clip, answer in AnswerFile(self.folder, self.draw).answers.items()}


@contextmanager
def serving(folder: Path, *, blind: bool = True) -> Iterator[Served]:
    draw = Draw.from_dict(json.loads((folder / "draw.json").read_text()))
    served = ReviewServer(folder, AnswerFile(folder, draw), spectrogram.SPEC, blind=blind, reviewer="me")
    with closing(server.listen(None)) as listening:
        ready = threading.Event()
        thread = threading.Thread(target=served.run, args=(listening, lambda _: ready.set()))
        thread.start()
        assert ready.wait(20)
        try:
            yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}/", served.token, folder, draw)
        finally:
            served.stop()
            thread.join(20)


@pytest.fixture
def review(tmp_path: Path) -> Iterator[Served]:
    make_review(tmp_path)
    with serving(tmp_path) as served:
        yield served


def test_nothing_is_answered_without_the_token_or_to_another_host(review: Served) -> None:
    for path in ("", "state", "clip/1"):
        assert review.ask(path, token="")[0] == review.ask(path, token="x" * 22)[0] == 403
        assert review.ask(path, Host="evil.example")[0] == 403
    for path in ("answer", "undo", "finish"):
        assert review.ask(path, {}, token="wrong")[0] == 403
    assert review.ask("clip/1")[0] == 200


def test_only_drawn_clips_are_reachable(review: Served) -> None:
    for path in (
        "clip/9",
        "clip/..%2Fdraw.json",
        "clip/../draw.json",
        "clips/1.flac",
        "draw.json",
        "clip/%2Fetc%2Fpasswd",
    ):
        status, said = review.ask(path)
        assert status == 404 and "secret place" not in said


def test_a_blind_review_tells_neither_label_nor_score_nor_place(review: Served) -> None:
    _, shown = review.ask("clip/1")
    told = json.dumps({name: value for name, value in shown.items() if name != "sound"})
    assert "flute" not in told and "0.9" not in shown["facts"] and "secret" not in told
    assert shown["unit"] == [2.0, 5.0] and shown["seconds"] == pytest.approx(7.0)


def test_a_second_tab_takes_over_and_the_first_one_is_told(review: Served) -> None:
    first, second = (review.ask("state")[1]["seat"] for _ in range(2))
    body = {"clip": "1", "kind": "", "labels": ["flute"]}
    status, said = review.ask("answer", body, **{"X-Seat": first})
    assert status == 409 and "another tab" in said and review.answers() == {}
    assert review.ask("answer", body, **{"X-Seat": second})[0] == 200 and review.answers() == {"1": "flute"}


def test_answers_that_cannot_be_are_refused_in_one_line(review: Served) -> None:
    seat = {"X-Seat": review.ask("state")[1]["seat"]}
    for body in (
        {"clip": "7", "kind": "", "labels": ["flute"]},
        {"clip": "1", "kind": "", "labels": ["bear"]},
        [1],
        {},
    ):
        status, said = review.ask("answer", body, **seat)
        assert status == 409 and "\n" not in json.loads(said)["problem"]
    assert review.ask("answer", {"clip": "1" * 100_000}, **seat)[0] == 413
    assert review.answers() == {}


def test_a_port_in_use_is_named() -> None:
    with closing(server.listen(None)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"^--port {port}: cannot be used \(.*\); pass another one"):
            server.listen(port)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="sends SIGKILL")
def test_a_killed_review_has_lost_no_answer(tmp_path: Path) -> None:
    draw = make_review(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = (
        "import json; from pathlib import Path; from audiocnn.draw import spectrogram\n"
        "from audiocnn.review import server; from audiocnn.review.answers import AnswerFile\n"
        "from audiocnn.review.draw import Draw\n"
        f"folder = Path({str(tmp_path)!r}); draw = Draw.from_dict(json.loads((folder / 'draw.json').read_text()))\n"
        "kept = AnswerFile(folder, draw)\n"
        "one = server.ReviewServer(folder, kept, spectrogram.SPEC, blind=True, reviewer='')\n"
        f"one.run(server.listen({port}), lambda address: print(address, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        token = process.stdout.readline().strip().partition("token=")[2]
        served = Served(f"http://127.0.0.1:{port}/", token, tmp_path, draw)
        seat = {"X-Seat": served.ask("state")[1]["seat"]}
        for clip, label in (("1", "flute"), ("2", "-"), ("3", "drum")):
            assert served.ask("answer", {"clip": clip, "kind": "", "labels": [label]}, **seat)[0] == 200
        process.send_signal(signal.SIGKILL)
    assert served.answers() == {"1": "flute", "2": "-", "3": "drum"}
    with serving(tmp_path) as again:
        assert again.ask("state")[1]["answered"] == ["1", "2", "3"]


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(375, "dark"), (1280, "light")])
def test_a_whole_review_by_keyboard(review: Served, width: int, scheme: str) -> None:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
        said: list[str] = []
        elsewhere: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith((review.address, "data:")) else elsewhere.append(r.url))
        page.goto(f"{review.address}?token={review.token}")
        message, count = page.locator("#message"), page.locator("#count")

        def expect(text: str, n: int) -> None:
            page.wait_for_function(
                "([text, n]) => document.getElementById('message').textContent.includes(text)"
                " && document.getElementById('count').textContent === `${n} of 4`"
                " && document.getElementById('clip').ariaBusy === 'false'", arg=[text, n],
            )  # fmt: skip

        page.wait_for_selector("#picture svg")
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        page.wait_for_function(
            "() => document.getElementById('sound').currentTime > 2"
        )  # plays by itself, the unit first
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.evaluate("() => axe.run({iframes: false, preload: false}).then(found => found.violations)")
        assert [rule["id"] for rule in found] == []
        page.keyboard.press("2")
        expect("Kept: flute.", 1)
        page.keyboard.press("u")
        expect("Kept: unsure.", 2)
        page.keyboard.press("z")
        expect("taken back", 1)
        page.keyboard.press("0")
        expect("none of these", 2)
        for key in "s13":
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        expect("Kept: drum and <owl>.", 3)
        page.reload()
        page.wait_for_selector("#picture svg")
        assert count.inner_text() == "3 of 4"
        page.keyboard.press("1")
        expect("All clips are answered", 4)
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.getElementById('message').textContent.startsWith('Finished')")
        assert "review.html" in message.inner_text() and said == [] and elsewhere == []
    assert review.answers() == {"1": "flute", "2": "-", "3": "drum|<owl>", "4": "drum"}
