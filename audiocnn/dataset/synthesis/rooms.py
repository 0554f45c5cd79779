"""Simulate a recording: add a room, a microphone and background noise to dry samples."""

from dataclasses import dataclass

import numpy as np

from audiocnn.dataset.synthesis import signals
from audiocnn.dataset.synthesis.signals import Samples

N_REFLECTIONS = 8  # early reflections; later ones are modelled as noise
LATE_S = 0.5  # length of the reverberation; the rest is below the background noise of these small rooms
NOISE_VARIATION_DB = 3.0  # of the background between takes


@dataclass(frozen=True)
class Room:
    """A room, a microphone in it, and the noise that both add."""

    seed: int  # of the reverberation, which is the same for all takes
    t60_s: float  # reverberation time
    reverberance_db: float  # energy of the reverberation, relative to the direct sound
    tilt_db: float  # of microphone and distance, per octave around 1 kHz
    low_hz: float  # band of the microphone
    high_hz: float
    noise_db: float  # RMS of the background, relative to the sound
    noise_tilt_db: float  # of the background, per octave
    hum_hz: float  # of the mains
    hum_db: float  # RMS of the hum, relative to the rest of the background

    def record(self, dry: Samples, *, n_channels: int, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return ``dry`` (n,) as recorded by ``n_channels`` microphones: (n, n_channels), with unit RMS.

        Each microphone has its own reverberation and noise; the direct sound and the hum are the same in all.
        """
        n_samples = len(dry)
        size = signals.fft_size(n_samples + signals.time_to_samples(LATE_S, sample_rate))
        frequencies_hz = signals.fft_bins(size, sample_rate)
        spectrum = np.fft.rfft(dry, size)
        spectrum *= signals.band(self.low_hz, self.high_hz)(frequencies_hz) * signals.tilt(self.tilt_db)(frequencies_hz)
        hum = self._hum(n_samples, sample_rate=sample_rate, rng=rng)
        wet, background = np.empty((n_samples, n_channels)), np.empty((n_samples, n_channels))
        for channel in range(n_channels):
            echoes = np.fft.rfft(self._impulse_response(channel, sample_rate=sample_rate), size)
            wet[:, channel] = np.fft.irfft(spectrum * echoes, size)[:n_samples]
            hiss = signals.noise(n_samples, signals.tilt(self.noise_tilt_db), sample_rate=sample_rate, rng=rng)
            background[:, channel] = hiss + hum
        noise_db = self.noise_db + rng.uniform(-NOISE_VARIATION_DB, NOISE_VARIATION_DB)
        take = wet / signals.rms(wet) + 10 ** (noise_db / 20) * background / signals.rms(background)
        return take / signals.rms(take)

    def _impulse_response(self, channel: int, *, sample_rate: int) -> Samples:
        """Return an impulse response: the direct sound, a few reflections, then noise that decays by ``t60_s``.

        The model of a room in Moorer 1979. The late part has less treble, as air and walls absorb it.
        """
        rng = np.random.default_rng([self.seed, channel])
        response = np.zeros(signals.time_to_samples(LATE_S, sample_rate))
        time_s = np.arange(len(response)) / sample_rate
        decay = 10 ** (-3 * time_s / self.t60_s)
        late = signals.noise(len(response), signals.band(80, 5000, order=1), sample_rate=sample_rate, rng=rng)
        late *= decay * (time_s > 0.015)
        delays = (rng.uniform(0.002, 0.03, N_REFLECTIONS) * sample_rate).astype(int)
        early = np.zeros_like(response)
        early[delays] = rng.choice([-1, 1], N_REFLECTIONS) * decay[delays]
        for part in (early, late):
            response += part * np.sqrt(0.5 / max(float(np.sum(part**2)), 1e-12))
        response *= 10 ** (self.reverberance_db / 20)
        response[0] += 1
        return response

    def _hum(self, n_samples: int, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return mains hum (n_samples,), a few harmonics, at ``hum_db`` relative to a background of unit RMS."""
        cycles = self.hum_hz * np.arange(n_samples) / sample_rate
        (hum,) = signals.oscillate(cycles, np.array([[1.0, 0.6, 0.5, 0.3, 0.2]]), rng=rng)
        return hum / signals.rms(hum) * 10 ** (self.hum_db / 20)
