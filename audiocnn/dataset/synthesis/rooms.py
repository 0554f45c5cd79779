"""Where and with what a sound is recorded: room, microphone and background noise, from dry samples to a take."""

from dataclasses import dataclass

import numpy as np

from audiocnn.dataset.synthesis import signals
from audiocnn.dataset.synthesis.signals import Samples

N_REFLECTIONS = 8  # early ones, told apart; later ones merge into noise
LATE_S = 0.5  # of reverberation kept; what follows is below the background of these small rooms
NOISE_STRAY_DB = 3.0  # of the background between takes


@dataclass(frozen=True)
class Room:
    """A room, a microphone in it, and the noise that both add."""

    seed: int  # of the echoes, which stay the same from take to take, as walls and microphone do
    t60_s: float  # reverberation time
    reverberance_db: float  # energy of the echoes, relative to the direct sound
    tilt_db: float  # of microphone and distance, per octave about 1 kHz
    low_hz: float  # corners of the microphone
    high_hz: float
    noise_db: float  # RMS of the background, relative to the sound
    noise_tilt_db: float  # of the background, per octave
    hum_hz: float  # of the mains
    hum_db: float  # RMS of the hum, relative to the rest of the background

    def record(self, dry: Samples, *, n_channels: int, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return ``dry`` (n,) as heard by ``n_channels`` microphones: (n, n_channels), of unit RMS.

        Every microphone has echoes and hiss of its own; the direct sound and the hum are common to all.
        """
        n_samples = len(dry)
        size = signals.fft_size(n_samples + signals.time_to_samples(LATE_S, sample_rate))
        frequencies_hz = signals.fft_bins(size, sample_rate)
        spectrum = np.fft.rfft(dry, size)
        spectrum *= signals.band(self.low_hz, self.high_hz)(frequencies_hz) * signals.tilt(self.tilt_db)(frequencies_hz)
        hum = self._hum(n_samples, sample_rate=sample_rate, rng=rng)
        wet, background = np.empty((n_samples, n_channels)), np.empty((n_samples, n_channels))
        for channel in range(n_channels):
            echoes = np.fft.rfft(self._echoes(channel, sample_rate=sample_rate), size)
            wet[:, channel] = np.fft.irfft(spectrum * echoes, size)[:n_samples]
            hiss = signals.noise(n_samples, signals.tilt(self.noise_tilt_db), sample_rate=sample_rate, rng=rng)
            background[:, channel] = hiss + hum
        noise_db = self.noise_db + rng.uniform(-NOISE_STRAY_DB, NOISE_STRAY_DB)
        take = wet / signals.rms(wet) + 10 ** (noise_db / 20) * background / signals.rms(background)
        return take / signals.rms(take)

    def _echoes(self, channel: int, *, sample_rate: int) -> Samples:
        """Return an impulse response: the direct sound, a few reflections, then noise that decays as ``t60_s`` says.

        The picture of a room in Moorer 1979; treble is missing from the late part, as air and walls absorb it.
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
        """Return mains hum (n_samples,), a few harmonics, at ``hum_db`` against a background of unit RMS."""
        cycles = self.hum_hz * np.arange(n_samples) / sample_rate
        (hum,) = signals.oscillate(cycles, np.array([[1.0, 0.6, 0.5, 0.3, 0.2]]), rng=rng)
        return hum / signals.rms(hum) * 10 ** (self.hum_db / 20)
