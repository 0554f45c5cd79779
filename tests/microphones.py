"""A microphone that hears what a test wants: it takes the place of the library sounddevice."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

TESTS = Path(__file__).resolve().parent


class Fake:
    """Stands for the module; its one input device gives ``samples`` (n, n_channels) int16 in blocks of these sizes.

    Sizes are taken again and again, or are what is asked for if none are given. ``every_s`` is waited between blocks;
    with ``again`` the samples never end. Blocks of the numbers in ``overflows`` come with the flag for lost samples.
    """

    class PortAudioError(Exception):
        pass

    def __init__(
        self,
        samples: np.ndarray,
        rate: int,
        sizes: Sequence[int] = (),
        *,
        every_s: float = 0.0,
        again: bool = False,
        overflows: Sequence[int] = (),
        refusal: str = "",
    ) -> None:
        self.samples = samples[:, None] if samples.ndim == 1 else samples
        self.sizes, self.every_s, self.again, self.overflows, self.refusal = sizes, every_s, again, overflows, refusal
        n_channels = self.samples.shape[1]
        self.devices: list[dict[str, Any]] = [
            {"index": 0, "name": "Speaker", "max_input_channels": 0, "default_samplerate": float(rate)},
            {"index": 1, "name": "USB mic", "max_input_channels": n_channels, "default_samplerate": float(rate)},
        ]
        self.opened: list[dict[str, Any]] = []
        self.n_closed = 0

    def query_devices(self, device: int | str | None = None, kind: str | None = None) -> Any:
        if kind is None:
            return self.devices
        inputs = [found for found in self.devices if found["max_input_channels"]]
        if device is not None:
            inputs = [f for f in inputs if f["index"] == device or (isinstance(device, str) and device in f["name"])]
        if len(inputs) != 1:
            raise ValueError(f"No input device matching {device!r}")
        return inputs[0]

    def InputStream(self, **options: Any) -> "Stream":
        if self.refusal:
            raise self.PortAudioError(self.refusal)
        self.opened.append(options)
        return Stream(self, options["callback"], options["blocksize"], options["channels"])


class Stream:
    def __init__(self, fake: Fake, callback: Callable[..., None], blocksize: int, n_channels: int) -> None:
        self._fake, self._callback = fake, callback
        self._samples, self._sizes = fake.samples[:, :n_channels], fake.sizes or [blocksize]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._fake.n_closed += 1

    def _run(self) -> None:
        first = number = 0
        memory = np.empty((max(self._sizes), self._samples.shape[1]), np.int16)
        while not self._ended.is_set():
            block = self._samples[first : first + self._sizes[number % len(self._sizes)]]
            if not len(block):
                if not self._fake.again:
                    return
                first = 0
                continue
            memory[: len(block)] = block
            status = SimpleNamespace(input_overflow=number in self._fake.overflows)
            self._callback(memory[: len(block)], len(block), None, status)
            memory[:] = 0  # PortAudio uses it again
            first, number = first + len(block), number + 1
            if self._fake.every_s:
                time.sleep(self._fake.every_s)


def install(folder: Path, samples: np.ndarray, rate: int, **options: Any) -> dict[str, str]:
    """Write a module in the place of sounddevice into a folder; return what has a command import it."""
    np.save(folder / "samples.npy", samples)
    made = f"microphones.Fake(numpy.load({str(folder / 'samples.npy')!r}), {rate}, **{options!r})"
    (folder / "sounddevice.py").write_text(
        f"import sys, numpy, microphones\nsys.modules[__name__] = {made}\n", encoding="utf-8"
    )
    path = [str(folder), str(TESTS), *filter(None, sys.path)]
    return {"PYTHONPATH": ":".join(path)}
