"""One recording heard once: its frames, and the account that is given of it whatever happens."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio import isolate
from audiocnn.audio.decode import Decoder
from audiocnn.errors import AudioError
from audiocnn.features import extract
from audiocnn.features.frontend import Frontend
from audiocnn.files import sha256_of
from audiocnn.specs import FeatureSpec

Status = Literal["ok", "silent", "unreadable"]


@dataclass(frozen=True)
class Account:
    """What became of one recording.

    ``codes`` are warnings if ``status`` is ok, else what is wrong; ``detail`` says it in words. Durations are seconds
    of the recording, at its own sample rate; ``analysed_s`` is what windows cover.
    """

    status: Status
    codes: tuple[str, ...] = ()
    detail: str = ""
    sha256: str = ""
    duration_s: float = 0.0
    analysed_s: float = 0.0
    sample_rate: int = 0
    n_channels: int = 0
    n_frames: int = 0

    @property
    def reason(self) -> str:
        """The codes as one cell of a table."""
        return ";".join(self.codes)

    @classmethod
    def of_failure(cls, error: AudioError, sha256: str = "") -> "Account":
        return cls(status="unreadable", codes=(error.code,), detail=error.detail, sha256=sha256)


def listen(path: Path, *, spec: FeatureSpec, frontend: Frontend) -> tuple[Account, extract.Array]:
    """Return the account of a recording and its frames (n_frames, n_bins, n_channels), none unless it is ok."""
    nothing = np.zeros((0, spec.n_bins, len(spec.channels)), np.float32)
    digest = ""
    try:
        with Decoder(path) as decoder:
            digest = sha256_of(path)
            peaks = _Peaks(decoder.blocks(sample_rate=spec.sample_rate, channel=spec.channel), spec.hop_length)
            blocks = list(extract.frames(peaks, spec=spec, frontend=frontend))
    except AudioError as error:
        return Account.of_failure(error, digest or hash_if_readable(path)), nothing
    except OSError as error:
        return Account.of_failure(AudioError("unreadable", f"cannot be read ({error.strerror})")), nothing
    facts = decoder.facts
    frames = np.concatenate(blocks) if blocks else nothing
    if not len(frames):
        few = AudioError("no_samples", f"too few samples to resample ({facts.n_read} at {facts.sample_rate} Hz)")
        return Account.of_failure(few, digest), nothing
    starts = extract.window_starts(len(frames), spec)
    heard_s = peaks.n_samples / spec.sample_rate
    account = Account(
        status="ok",
        codes=tuple(facts.warnings),
        sha256=digest,
        duration_s=facts.duration_s,
        analysed_s=min(analysed_s(starts, spec), facts.duration_s),
        sample_rate=facts.sample_rate,
        n_channels=facts.n_channels,
        n_frames=len(frames),
    )
    if peaks.n_samples < spec.window_samples:
        account = replace(
            account,
            codes=("short", *account.codes),
            detail=f"{heard_s:.3g} s, shorter than one window ({spec.window_s:g} s); repeated to fill it",
        )
    peak_dbfs = 20 * np.log10(max(peaks.highest(int(starts[-1]) + spec.window_frames), 1e-10))
    if peak_dbfs < spec.silence_dbfs:
        detail = f"never above {spec.silence_dbfs:g} dBFS in what was analysed (peak {peak_dbfs:.0f} dBFS)"
        account = replace(
            account, status="silent", codes=("silent", *account.codes), detail=detail, analysed_s=0.0, n_frames=0
        )
        frames = nothing
    return account, frames


def listen_all(
    paths: Sequence[Path], *, spec: FeatureSpec, frontend: Frontend, jobs: int
) -> Iterator[tuple[int, Account, extract.Array]]:
    """Yield (index, account, frames) of every recording as it is ready, heard in worker processes."""
    for done in isolate.each(_listen, [(path, (spec, frontend)) for path in paths], jobs=jobs):
        if isinstance(done.result, AudioError):
            failed = Account.of_failure(done.result, hash_if_readable(paths[done.index]))
            yield done.index, failed, np.zeros((0, spec.n_bins, len(spec.channels)), np.float32)
        else:
            yield done.index, *done.result


def _listen(path: Path, spec: FeatureSpec, frontend: Frontend) -> tuple[Account, extract.Array]:
    return listen(path, spec=spec, frontend=frontend)


def analysed_s(starts: NDArray[np.int64], spec: FeatureSpec) -> float:
    """Seconds that windows beginning at these frames cover, overlaps counted once."""
    if not len(starts):
        return 0.0
    covered = np.minimum(np.diff(starts), spec.window_frames - 1).sum() + spec.window_frames - 1
    return float(covered * spec.hop_length / spec.sample_rate)


def hash_if_readable(path: Path) -> str:
    """SHA-256 of a regular file, or an empty text where there is none to read."""
    try:
        return sha256_of(path) if path.is_file() else ""
    except OSError:
        return ""


class _Peaks:
    """Pass blocks of samples on and keep the largest absolute sample of every ``hop_length`` of them."""

    def __init__(self, blocks: Iterable[extract.Array], hop_length: int) -> None:
        self._blocks = blocks
        self._hop = hop_length
        self._found: list[extract.Array] = []
        self.n_samples = 0

    def __iter__(self) -> Iterator[extract.Array]:
        rest = np.zeros(0, np.float32)
        for block in self._blocks:
            self.n_samples += len(block)
            rest = np.concatenate([rest, np.abs(block)])
            whole = len(rest) // self._hop * self._hop
            if whole:
                self._found.append(rest[:whole].reshape(-1, self._hop).max(axis=1))
            rest = rest[whole:]
            yield block
        if len(rest):
            self._found.append(rest.max(keepdims=True))

    def highest(self, n_hops: int) -> float:
        """Largest absolute sample among the first ``n_hops`` hops."""
        return float(np.concatenate(self._found)[:n_hops].max(initial=0.0))
