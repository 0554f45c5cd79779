"""A microphone as the source of a decoder: samples in real time until it is stopped.

Only this module imports sounddevice.
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

from audiocnn.audio.source import SCALES, Dtype
from audiocnn.errors import AudioError, ConfigError, MissingExtraError, OutputError, needs_extra
from audiocnn.files import atomic_file

BLOCK_S = 0.05  # duration of the blocks that the device delivers
BUFFER_S = 30.0  # of samples that wait to be read; if it is full, further blocks are lost and counted
STALL_S = 5.0  # without a sample, after which the device counts as disconnected
_POLL_S = 0.1

Watch = Callable[[NDArray[np.int16]], None]

_FULL_SCALE = 1 << 15
_MAX_WAV_BYTES = (1 << 32) - (1 << 16)  # of samples; lengths in the header have 32 bits


class MicrophoneSource:
    """A source that reads an input device; `read` waits for samples and returns those available.

    Samples are 16-bit integers at the device's own rate, so that a WAV of them gives the same scores. Warnings are
    ``overflow`` if samples were lost, by the device or because they were not read in time, and ``truncated`` if the
    device was disconnected.
    """

    container, encoding = "microphone", "PCM_16"
    dtype: Dtype = "int16"
    scale = SCALES["int16"]
    n_declared = sys.maxsize

    def __init__(self, device: int | str | None = None, *, n_channels: int = 1, limit_s: float | None = None) -> None:
        """Start recording from ``device``, given by its number or part of its name, or from the default one.

        It records up to ``n_channels`` channels, fewer if the device has fewer, and stops after ``limit_s`` seconds
        (None: never). Raises `MissingExtraError` without sounddevice, `ConfigError` if the device does not exist or
        cannot be opened.
        """
        library = _library()
        info = _input_info(library, device)
        self.name = str(info["name"])
        self.sample_rate = rate = round(info["default_samplerate"])
        self.n_channels: int = min(n_channels, info["max_input_channels"])
        self.n_overflows = 0  # how many times samples were lost
        self.watch: Watch | None = None  # called with samples (n, n_channels) before they are decoded
        self._stopped = self._disconnected = False
        self._n_left = sys.maxsize if limit_s is None else max(1, round(limit_s * rate))
        self._n_read = 0
        self._block = np.zeros((0, self.n_channels), np.int16)  # the rest of the block being read
        self._waiting: queue.Queue[NDArray[np.int16]] = queue.Queue(round(BUFFER_S / BLOCK_S))
        options = {"samplerate": rate, "channels": self.n_channels, "blocksize": round(BLOCK_S * rate)}
        try:
            self._stream = library.InputStream(
                device=info["index"], callback=self._receive, dtype=self.dtype, **options
            )
            self._stream.start()
        except (library.PortAudioError, ValueError) as error:
            raise ConfigError(
                f"input device '{info['name']}': cannot be opened ({_one_line(error)}); close other programs that use "
                "it, or select another one with --device"
            ) from error

    @property
    def read_s(self) -> float:
        """Seconds that have been read; inside ``watch``, without the samples passed to it."""
        return self._n_read / self.sample_rate

    def stop(self) -> None:
        """Stop recording; may be called from a signal handler or another thread."""
        self._stopped = True

    def read(self, out: NDArray[np.int16]) -> NDArray[np.int16]:
        if not self._n_left or not (len(self._block) or self._wait_for_block()):
            return out[:0]
        n = min(len(out), len(self._block), self._n_left)
        out[:n], self._block = self._block[:n], self._block[n:]
        if self.watch is not None:
            self.watch(out[:n])
        self._n_left -= n
        self._n_read += n
        return out[:n]

    def warnings(self, of_samples: list[str]) -> list[str]:
        return [
            *of_samples,
            *(["overflow"] if self.n_overflows else []),
            *(["truncated"] if self._disconnected else []),
        ]

    def close(self) -> None:
        self._stream.close()

    def _wait_for_block(self) -> bool:
        """Wait for the next block; return False if recording has ended. Raises `AudioError` if it gave no samples."""
        waited_s = 0.0
        while not self._stopped:
            try:
                self._block = self._waiting.get(timeout=_POLL_S)
                return True
            except queue.Empty:
                waited_s += _POLL_S
            if waited_s >= STALL_S:
                self._disconnected = True
                break
        if not self._n_read:
            stalled = f"the device gave none within {STALL_S:g} s"
            why = stalled if self._disconnected else "it was stopped before the first one"
            raise AudioError("no_samples", f"no samples: {why}")
        return False

    def _receive(self, samples: NDArray[np.int16], _n: int, _time: Any, status: Any) -> None:
        """Runs in a thread of PortAudio, which reuses the memory of ``samples``."""
        self.n_overflows += bool(status.input_overflow)
        try:
            self._waiting.put_nowait(samples.copy())
        except queue.Full:
            self.n_overflows += 1


@contextlib.contextmanager
def wav_writer(path: Path, sample_rate: int, n_channels: int) -> Iterator[Callable[[NDArray[np.int16]], bool]]:
    """Yield a function that appends samples (n, n_channels) to a 16-bit WAV; the file exists when the block has ended.

    The function returns False, and drops the samples, if the WAV would exceed 4 GiB. Raises `OutputError` if the file
    cannot be written.
    """
    n_left = _MAX_WAV_BYTES // (2 * n_channels)

    def add(samples: NDArray[np.int16]) -> bool:
        nonlocal n_left
        if len(samples) > n_left:
            return False
        n_left -= len(samples)
        try:
            writer.writeframesraw(samples.astype("<i2").tobytes())
        except OSError as error:  # as an OSError it would count as a fault of the recording
            raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
        return True

    with atomic_file(path) as file, wave.open(file, "wb") as writer:
        writer.setparams((n_channels, 2, sample_rate, 0, "NONE", ""))
        yield add


def peak_db(samples: NDArray[np.int16]) -> float:
    """Return the peak of samples in dBFS; minus infinity if all are 0.

    >>> peak_db(np.array([[-16384], [100]], np.int16))
    -6.0206
    """
    peak = int(np.abs(samples.astype(np.int32)).max(initial=0))
    return round(20 * math.log10(peak / _FULL_SCALE), 4) if peak else -math.inf


def _library() -> Any:
    """Return sounddevice; raise `MissingExtraError` or `ConfigError` if it or PortAudio is missing."""
    try:
        with needs_extra("mic"):
            import sounddevice
    except MissingExtraError:
        raise
    except OSError as error:  # PortAudio is missing; only the wheels for Windows and macOS contain it
        remedy = "apt install libportaudio2, dnf install portaudio, pacman -S portaudio or brew install portaudio"
        raise ConfigError(f"PortAudio: not installed, but needed to record; {remedy}") from error
    except Exception as error:  # PortAudioError, whose class is not available if the import fails
        raise ConfigError(
            f"PortAudio: does not start ({_one_line(error)}); check the sound settings of this computer"
        ) from error
    return sounddevice


def _input_info(library: Any, device: int | str | None) -> Any:
    """Return sounddevice's description of an input device."""
    inputs = [info for info in library.query_devices() if info["max_input_channels"] > 0]
    if not inputs:
        raise ConfigError("no microphone: this computer has no input device; connect one and run the command again")
    try:
        return library.query_devices(device, "input")
    except (library.PortAudioError, ValueError) as error:
        names = ", ".join(f"{info['index']} ({info['name']})" for info in inputs)
        problem = "no default input device" if device is None else f"input device {device}: matches none or several"
        raise ConfigError(f"{problem}; pass --device with one of {names}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
