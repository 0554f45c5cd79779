"""Fit the features of a preset to recordings of a lower sample rate."""

from collections.abc import Mapping, Sequence

from audiocnn.audio.probe import Probe
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError
from audiocnn.features.frontend import hz_to_mel
from audiocnn.specs import AugmentSpec, FeatureSpec

RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000)  # of which the constants come with the package
_BANDS_STEP = 8  # the number of mel bands is a multiple of it
_LOWEST_LOWPASS, _HIGHEST_LOWPASS = 0.25, 0.4375  # limits of the cutoff of augmented versions per sample rate


def fit(spec: FeatureSpec, recordings: Sequence[Recording], probes: Mapping[str, Probe | AudioError]) -> FeatureSpec:
    """Return features at the highest sample rate of the recordings.

    The sample rate is the next one of `RATES`, and only ever lowered; the durations of frames and windows and the width
    of the mel bands stay. Windows stay as long also for shorter recordings, which are repeated: windows of the median
    duration were much less accurate for one of three speakers (docs/accuracy.md).
    """
    found = (probes.get(recording.path) for recording in recordings)
    highest = max((probe.sample_rate for probe in found if isinstance(probe, Probe) and not probe.silent), default=None)
    if highest is None:
        return spec
    rate = next((rate for rate in RATES if rate >= highest), spec.sample_rate)
    return at_rate(spec, rate) if rate < spec.sample_rate else spec


def at_rate(spec: FeatureSpec, rate: int) -> FeatureSpec:
    """Return features at a lower sample rate, up to half of it at most."""
    upper_hz = min(spec.upper_hz, rate / 2)
    width = (hz_to_mel(spec.upper_hz) - hz_to_mel(spec.fmin)) / spec.n_mels
    bands = (hz_to_mel(upper_hz) - hz_to_mel(spec.fmin)) / width
    ratio = rate / spec.sample_rate
    return _changed(
        spec,
        {
            "sample_rate": rate,
            "n_fft": 1 << round(spec.n_fft * ratio - 1).bit_length(),
            "hop_length": round(spec.hop_length * ratio),
            "n_mels": max(_BANDS_STEP, _BANDS_STEP * int(bands / _BANDS_STEP)),
            "fmax": None if spec.fmax is None else upper_hz,
            "copies": tuple(_lowpass_below(copy, rate) for copy in spec.copies),
        },
    )


def _lowpass_below(copy: AugmentSpec, rate: int) -> AugmentSpec:
    """Return an augmented version whose low-pass filters suit a sample rate."""
    if copy.lowpass_hz is None:
        return copy
    low, high = copy.lowpass_hz
    limits = (min(low, float(int(_LOWEST_LOWPASS * rate))), min(high, float(int(_HIGHEST_LOWPASS * rate))))
    return copy.model_copy(update={"lowpass_hz": limits})


def _changed(spec: FeatureSpec, changes: dict[str, object]) -> FeatureSpec:
    unchanged: dict[str, object] = {name: getattr(spec, name) for name in FeatureSpec.model_fields}
    return FeatureSpec.model_validate(unchanged | changes)
