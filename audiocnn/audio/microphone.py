"""An input device as the source of a decoder: samples as they come, until it is told to stop.

The only importer of sounddevice.
"""

import contextlib
import math
import queue
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio.source import Dtype
from audiocnn.errors import AudioError, ConfigError, MissingExtraError, OutputError, needs_extra
from audiocnn.files import atomic_file

BLOCK_S = 0.05  # between deliveries of the device
BUFFER_S = 30.0  # of samples that wait to be heard; what comes when there is no room for more is lost, and counted
STALL_S = 5.0  # without a sample, before the device is taken for gone
_LOOK_S = 0.1

Watch = Callable[[NDArray[np.int16]], None]

_FULL_SCALE = 1 << 15
_WAV_BYTES = (1 << 32) - (1 << 16)  # of samples; the header counts in 32 bits


class MicrophoneSource:
    """An input device. Reading waits until there are samples, and returns those that there are.

    Samples are taken as 16-bit integers at the device's own rate, so that a file of them gives the same scores.
    Warnings are ``overflow`` if samples were lost, by the device or because they were not read in time, and
    ``truncated`` if the device has gone.
    """

    container, encoding = "microphone", "PCM_16"
    dtype: Dtype = "int16"
    n_declared = sys.maxsize

    def __init__(self, device: int | str | None = None, *, n_channels: int = 1, limit_s: float | None = None) -> None:
        """Begin to listen to a ``device``, by its number or part of its name, or to the usual one.

        Of its channels ``n_channels`` are taken, if it has so many. It stops by itself after ``limit_s`` seconds, or
        never. Raises `MissingExtraError` without the library, `ConfigError` if there is no such device or it cannot be
        opened.
        """
        library = _library()
        found = _input(library, device)
        self.name = str(found["name"])
        self.sample_rate = rate = round(found["default_samplerate"])
        self.n_channels: int = min(n_channels, found["max_input_channels"])
        self.n_overflows = 0  # how many times samples have been lost
        self.watch: Watch | None = None  # called with samples (n, n_channels) whenever some are about to be decoded
        self._stopped = self._gone = False
        self._n_left = sys.maxsize if limit_s is None else max(1, round(limit_s * rate))
        self._n_read = 0
        self._held = np.zeros((0, self.n_channels), np.int16)
        self._waiting: queue.Queue[NDArray[np.int16]] = queue.Queue(round(BUFFER_S / BLOCK_S))
        options = {"samplerate": rate, "channels": self.n_channels, "blocksize": round(BLOCK_S * rate)}
        try:
            self._stream = library.InputStream(
                device=found["index"], callback=self._receive, dtype=self.dtype, **options
            )
            self._stream.start()
        except (library.PortAudioError, ValueError) as error:
            raise ConfigError(
                f"input device '{found['name']}': cannot be opened ({_one_line(error)}); end what else uses it, or say "
                "another one with --device"
            ) from error

    @property
    def read_s(self) -> float:
        """How many seconds have been read, without those that ``watch`` is being called with."""
        return self._n_read / self.sample_rate

    def stop(self) -> None:
        """Let the samples end here; may be called from a signal handler or another thread."""
        self._stopped = True

    def read(self, out: NDArray[np.int16]) -> NDArray[np.int16]:
        if not self._n_left or not (len(self._held) or self._next()):
            return out[:0]
        n = min(len(out), len(self._held), self._n_left)
        out[:n], self._held = self._held[:n], self._held[n:]
        if self.watch is not None:
            self.watch(out[:n])
        self._n_left -= n
        self._n_read += n
        return out[:n]

    def warnings(self, of_samples: list[str]) -> list[str]:
        return [
            *of_samples,
            *(["overflow"] if self.n_overflows else []),
            *(["truncated"] if self._gone else []),
        ]

    def close(self) -> None:
        self._stream.close()

    def _next(self) -> bool:
        """Wait for samples; return whether there will be any."""
        waited_s = 0.0
        while not self._stopped:
            try:
                self._held = self._waiting.get(timeout=_LOOK_S)
                return True
            except queue.Empty:
                waited_s += _LOOK_S
            if waited_s >= STALL_S:
                self._gone = True
                break
        if not self._n_read:
            none_within = f"the device gave none within {STALL_S:g} s"
            why = none_within if self._gone else "it was stopped before the first one"
            raise AudioError("no_samples", f"no samples: {why}")
        return False

    def _receive(self, samples: NDArray[np.int16], _n: int, _time: Any, status: Any) -> None:
        """Runs in a thread of PortAudio, which uses the memory of ``samples`` again."""
        self.n_overflows += bool(status.input_overflow)
        try:
            self._waiting.put_nowait(samples.copy())
        except queue.Full:
            self.n_overflows += 1


@contextlib.contextmanager
def wav_writer(path: Path, sample_rate: int, n_channels: int) -> Iterator[Callable[[NDArray[np.int16]], bool]]:
    """Yield a function that adds samples (n, n_channels) to a WAV of 16 bits, which is there when the block has ended.

    It returns whether there was room: a WAV holds 4 GiB, and what comes then is left out. Raises `OutputError` if the
    file cannot be written.
    """
    n_left = _WAV_BYTES // (2 * n_channels)

    def add(samples: NDArray[np.int16]) -> bool:
        nonlocal n_left
        if len(samples) > n_left:
            return False
        n_left -= len(samples)
        try:
            writer.writeframesraw(samples.astype("<i2").tobytes())
        except OSError as error:  # not the recording's fault, for which it would be taken
            raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
        return True

    with atomic_file(path) as file, wave.open(file, "wb") as writer:
        writer.setparams((n_channels, 2, sample_rate, 0, "NONE", ""))
        yield add


def peak_db(samples: NDArray[np.int16]) -> float:
    """Peak of samples in dBFS; minus infinity of zeros.

    >>> peak_db(np.array([[-16384], [100]], np.int16))
    -6.0206
    """
    peak = int(np.abs(samples.astype(np.int32)).max(initial=0))
    return round(20 * math.log10(peak / _FULL_SCALE), 4) if peak else -math.inf


def _library() -> Any:
    try:
        with needs_extra("mic"):
            import sounddevice
    except MissingExtraError:
        raise
    except OSError as error:  # it is a shell around PortAudio, which its wheels for Windows and macOS bring along
        remedy = "apt install libportaudio2, dnf install portaudio, pacman -S portaudio or brew install portaudio"
        raise ConfigError(f"PortAudio: not installed, and a microphone is heard through it; {remedy}") from error
    except Exception as error:  # PortAudio's own, whose class has not been imported
        raise ConfigError(
            f"PortAudio: does not start ({_one_line(error)}); look at the sound settings of this computer"
        ) from error
    return sounddevice


def _input(library: Any, device: int | str | None) -> Any:
    """What the library knows of an input device."""
    inputs = [found for found in library.query_devices() if found["max_input_channels"] > 0]
    if not inputs:
        raise ConfigError("no microphone: this computer has no input device; connect one, and say it again")
    try:
        return library.query_devices(device, "input")
    except (library.PortAudioError, ValueError) as error:
        names = ", ".join(f"{found['index']} ({found['name']})" for found in inputs)
        wanted = "no usual input device" if device is None else f"input device {device}: fits no microphone, or several"
        raise ConfigError(f"{wanted}; say --device with one of {names}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
