"""Where and with what a sound is recorded: room, microphone and background noise, from dry samples to a take."""

from dataclasses import dataclass

import numpy as np

from audiocnn.dataset.synthesis import signals
from audiocnn.dataset.synthesis.signals import Samples

N_REFLECTIONS = 8  # early ones, told apart; later ones merge into noise
LATE_S = 0.5  # of late reverberation kept; what follows is below the noise of these small rooms


@dataclass(frozen=True)
class Room:
    """A room, a microphone in it, and the noise that both add."""

    seed: int  # of its echoes: they stay the same from take to take, as walls and microphone do
    t60_s: float  # reverberation time
    reverberance_db: float  # energy of the reverberation, relative to the direct sound
    tilt_db: float  # of the microphone and its distance, per octave about 1 kHz
    low_hz: float  # corners of the microphone
    high_hz: float
    noise_db: float  # RMS of the background, relative to the take
    noise_tilt_db: float  # per octave
    hum_hz: float  # of the mains
    hum_db: float  # RMS of the hum, relative to the rest of the background

    def record(self, dry: Samples, *, n_channels: int, sample_rate: int, rng: np.random.Generator) -> Samples:
        """``dry`` (n,) as heard by ``n_channels`` microphones: (n, n_channels), of unit RMS.

        Every microphone has reverberation and hiss of its own; the direct sound and the hum are common to all.
        """
        size = signals.fft_size(len(dry) + signals.count(LATE_S, sample_rate))
        frequencies_hz = np.fft.rfftfreq(size, 1 / sample_rate)
        response = signals.band(self.low_hz, self.high_hz)(frequencies_hz) * signals.tilt(self.tilt_db)(frequencies_hz)
        spectrum = np.fft.rfft(dry, size) * response
        echoes = [self._echoes(channel, sample_rate=sample_rate) for channel in range(n_channels)]
        wet = np.stack([np.fft.irfft(spectrum * np.fft.rfft(echo, size), size)[: len(dry)] for echo in echoes], axis=1)
        hum = self._hum(len(dry), sample_rate=sample_rate, rng=rng)
        background = np.stack(
            [
                signals.noise(len(dry), signals.tilt(self.noise_tilt_db), sample_rate=sample_rate, rng=rng) + hum
                for _ in range(n_channels)
            ],
            axis=1,
        )
        take = wet / max(signals.rms(wet), 1e-12) + 10 ** ((self.noise_db + rng.uniform(-3, 3)) / 20) * background / signals.rms(background)
        return take / signals.rms(take)

    def _echoes(self, channel: int, *, sample_rate: int) -> Samples:
        """An impulse response: the direct sound, a few reflections, then noise that decays by 60 dB in ``t60_s``.

        The image of a small room in Moorer 1979; the late part loses its treble faster, as air and walls absorb it.
        """
        rng = np.random.default_rng([self.seed, channel])
        response = np.zeros(signals.count(LATE_S, sample_rate))
        time_s = np.arange(len(response)) / sample_rate
        late = rng.standard_normal(len(response)) * 10 ** (-3 * time_s / self.t60_s) * (time_s > 0.015)
        late = signals.filtered(late, signals.band(80, 5000, order=1), sample_rate=sample_rate)
        delays = (rng.uniform(0.002, 0.03, N_REFLECTIONS) * sample_rate).astype(int)
        early = np.zeros_like(response)
        early[delays] = rng.choice([-1, 1], N_REFLECTIONS) * 10 ** (-3 * delays / sample_rate / self.t60_s)
        for part in (early, late):
            response += part * np.sqrt(0.5 / max(float(np.sum(part**2)), 1e-12))
        response *= 10 ** (self.reverberance_db / 20)
        response[0] += 1
        return response

    def _hum(self, n_samples: int, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Mains hum (n_samples,): a few harmonics, at ``hum_db`` against a background of unit RMS."""
        cycles = self.hum_hz * np.arange(n_samples) / sample_rate
        (hum,) = signals.oscillate(cycles, np.array([[1.0, 0.6, 0.5, 0.3, 0.2]]), rng=rng)
        return hum / signals.rms(hum) * 10 ** (self.hum_db / 20)
