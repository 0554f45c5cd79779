"""The local server of a review: one page, its clips, and the answers, for one browser on this machine.

It listens on 127.0.0.1 only. Every request needs the token in the address of the page, and a host name of this machine,
so that no other site can ask for anything. Only drawn clips can be reached, by their number.
"""

import contextlib
import hmac
import json
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from audiocnn.draw import spectrogram
from audiocnn.errors import AudiocnnError, ConfigError, needs_extra
from audiocnn.report import page
from audiocnn.report.sound import make_sound
from audiocnn.review import answers, clips
from audiocnn.review.answers import AnswerFile
from audiocnn.review.draw import DrawnUnit
from audiocnn.specs import FeatureSpec
from audiocnn.wording import clock

with needs_extra("review"):
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.routing import Route

HOST = "127.0.0.1"
_KEYS = "123456789abdefghijklmnopqtvxy"  # of labels; c, r, s, u, w, z and 0 have other meanings
_LOUDEST, _MOST_GAIN = 0.9, 100.0  # of a clip that is played
_POLICY = (
    "default-src 'none'; script-src '{script}'; style-src 'unsafe-inline'; img-src data:; media-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_MAX_BODY = 64 << 10


class ReviewServer:
    """Serves the clips in ``folder`` that are in ``kept`` and takes answers; ``blind`` hides label and score."""

    def __init__(self, folder: Path, kept: AnswerFile, spec: FeatureSpec, *, blind: bool, reviewer: str) -> None:
        self.token = secrets.token_urlsafe(16)
        self._folder, self._kept, self._spec = folder, kept, spectrogram.drawing_spec(spec)
        self._blind, self._reviewer, self._seat = blind, reviewer, ""
        self._units = {unit.clip: unit for unit in kept.draw.units if clips.clip_file(folder, unit).is_file()}
        self.stop: Callable[[], None] = lambda: None

    def app(self, port: int) -> "Starlette":
        """Return the application for a server on this port."""

        def guarded(work: "Callable[[Request], Response]") -> "Callable[[Request], Response]":
            return lambda request: self._answered(work, request, port)

        return Starlette(
            routes=[
                Route("/", guarded(self._page)),
                Route("/state", guarded(self._state)),
                Route("/clip/{clip}", guarded(self._clip)),
                Route("/answer", self._posted(self._answer, port), methods=["POST"]),
                Route("/undo", self._posted(self._undo, port), methods=["POST"]),
                Route("/finish", self._posted(self._finish, port), methods=["POST"]),
            ]
        )

    def run(self, listening: socket.socket, ready: Callable[[str], None]) -> None:
        """Serve until the page is finished or the user presses Ctrl-C; ``ready`` is called with the address."""

        class Server(uvicorn.Server):
            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                """End without an error at Ctrl-C, so that the result is written."""
                if threading.current_thread() is not threading.main_thread():  # no signals there
                    yield
                    return
                before = signal.signal(signal.SIGINT, lambda *_: self.stop())
                try:
                    yield
                finally:
                    signal.signal(signal.SIGINT, before)

            def stop(self) -> None:
                self.should_exit = True

        port = listening.getsockname()[1]
        config = uvicorn.Config(
            self.app(port), log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2,
            server_header=False,
        )  # fmt: skip
        server = Server(config)
        self.stop = server.stop
        ready(f"http://{HOST}:{port}/?token={self.token}")
        server.run(sockets=[listening])

    # Requests

    def _answered(self, work: "Callable[..., Response]", request: "Request", port: int, *given: Any) -> "Response":
        """Return the answer to a request that may be asked, with errors as one line."""
        given_token = request.headers.get("x-token") or request.query_params.get("token") or ""
        if request.headers.get("host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            response: Response = JSONResponse({"problem": "not a page of this machine"}, 403)
        elif not hmac.compare_digest(given_token.encode(), self.token.encode()):
            response = JSONResponse({"problem": "wrong token: open the address that audiocnn printed"}, 403)
        else:
            try:
                response = work(request, *given)
            except AudiocnnError as error:
                response = JSONResponse({"problem": str(error)}, 409)
        response.headers.update(
            {"cache-control": "no-store", "referrer-policy": "no-referrer", "x-content-type-options": "nosniff"}
        )
        return response

    def _posted(self, work: "Callable[[dict[str, Any]], dict[str, Any]]", port: int) -> Any:
        """Return a handler that gives ``work`` the JSON of a request from the page that was opened last."""

        def respond(request: "Request", body: bytes) -> "Response":
            if request.headers.get("x-seat") != self._seat:
                raise ConfigError("this review was opened in another tab; reload this page to go on here")
            try:
                value = json.loads(body)
            except ValueError:
                value = None
            if not isinstance(value, dict):
                raise ConfigError("the request is no JSON object")
            return JSONResponse(work(value))

        async def handle(request: "Request") -> "Response":
            body = b""
            async for piece in request.stream():
                body += piece
                if len(body) > _MAX_BODY:
                    return JSONResponse({"problem": "the request is too long"}, 413)
            return await run_in_threadpool(self._answered, respond, request, port, body)

        return handle

    def _page(self, _: "Request") -> "Response":
        draw = self._kept.draw
        labels = [(_KEYS[i] if i < len(_KEYS) else "", label) for i, label in enumerate(draw.labels)]
        scripts = ("reviewing.js",)
        text = page.render("reviewing.html.j2", scripts, model=draw.model_name, labels=labels, blind=self._blind)
        policy = _POLICY.format(script=page.script_hash(page.script(*scripts)))
        return HTMLResponse(text, headers={"content-security-policy": policy})

    def _state(self, _: "Request") -> "Response":
        """Begin in a new tab; the one before cannot answer any more."""
        self._seat = secrets.token_urlsafe(8)
        answered = [clip for clip in self._kept.answers if clip in self._units]
        return JSONResponse({"seat": self._seat, "order": list(self._units), "answered": answered})

    def _clip(self, request: "Request") -> "Response":
        unit = self._units.get(request.path_params["clip"])
        if unit is None:
            return JSONResponse({"problem": "no clip of this review"}, 404)
        return JSONResponse(self._shown(unit))

    def _shown(self, unit: DrawnUnit) -> dict[str, Any]:
        rate = self._spec.sample_rate
        samples = clips.read(self._folder, unit, rate)
        begin_s = clips.context(unit)[0]
        marked = (unit.start_s - begin_s, min(unit.end_s - begin_s, len(samples) / rate))
        title = "The clip, with the part in question bright"
        picture = spectrogram.draw(samples, rate, title=title, begin_s=begin_s, spec=self._spec, marked=marked)
        gain = min(_LOUDEST / max(float(np.abs(samples).max()), 1e-9), _MOST_GAIN)
        sound = make_sound(samples * np.float32(gain), rate)
        slow = f"; played {sound.slowdown} times slower" if sound.slowdown > 1 else ""
        facts = f"{clock(unit.start_s)} to {clock(unit.end_s)} of the recording{slow}"
        if not self._blind:
            facts = f"Predicted: {unit.label}, score {unit.score:.2f}. {unit.recording}, {facts}"
        return {
            "picture": picture, "sound": sound.uri, "seconds": len(samples) / rate, "slowdown": sound.slowdown,
            "unit": marked, "facts": facts,
        }  # fmt: skip

    def _answer(self, given: dict[str, Any]) -> dict[str, Any]:
        clip, kind, labels = (given.get(name) for name in ("clip", "kind", "labels"))
        unit = self._units.get(clip) if isinstance(clip, str) else None
        if unit is None or not isinstance(kind, str) or not isinstance(labels, list):
            raise ConfigError("not an answer to a clip of this review")
        answer = answers.parse(kind, "|".join(map(str, labels)), unit, self._kept.draw.labels, f"clip {unit.clip}")
        if answer is None:
            raise ConfigError("the answer is empty")
        self._kept.add(unit.clip, answer, self._reviewer)
        return {}

    def _undo(self, _: dict[str, Any]) -> dict[str, Any]:
        last = next((clip for clip in reversed(self._kept.answers) if clip in self._units), None)
        if last is not None:
            self._kept.add(last, None, self._reviewer)
        return {"clip": last}

    def _finish(self, _: dict[str, Any]) -> dict[str, Any]:
        self.stop()
        return {"page": os.fspath(self._folder / "review.html")}


def listen(port: int | None) -> socket.socket:
    """Return a socket on a port of this machine, by default any free one; raise `ConfigError` if it is in use."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name != "nt")
    try:
        listening.bind((HOST, port or 0))
        listening.listen()
    except OSError as error:
        listening.close()
        what = error.strerror or str(error)
        raise ConfigError(f"--port {port}: cannot be used ({what}); pass another one, or leave it out") from error
    return listening
