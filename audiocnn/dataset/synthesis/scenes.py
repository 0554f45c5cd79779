"""Outdoor scenes, with a rotor or without: wind, rain, traffic, birds and insects around the buzz of blades."""

from dataclasses import dataclass

import numpy as np

from audiocnn.dataset.synthesis import signals
from audiocnn.dataset.synthesis.rooms import Room
from audiocnn.dataset.synthesis.signals import Samples


@dataclass(frozen=True)
class Craft:
    """An aircraft of several rotors (a drone): one buzz of harmonics of the blade-passing frequency a rotor.

    The tones and the broadband noise that the blades modulate are those of small propellers (Sinibaldi and Marino 2013).
    """

    blade_hz: float  # blade-passing frequency
    detuning: float  # relative spread of the rotors' speeds
    n_rotors: int
    slope: float  # harmonics fall as 1 / k ** slope
    hiss: float  # RMS of the broadband noise, relative to the tones
    hiss_hz: tuple[float, float]

    def sound(self, n_samples: int, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """The craft hovering and shifting about (n_samples,), of unit RMS."""
        total = np.zeros(n_samples)
        manoeuvre = signals.wander(n_samples, 1.5, sample_rate=sample_rate, rng=rng)
        blade_hz = self.blade_hz * rng.uniform(0.85, 1.18)
        for _ in range(self.n_rotors):
            own = signals.wander(n_samples, 4.0, sample_rate=sample_rate, rng=rng)
            speed_hz = blade_hz * (1 + self.detuning * rng.uniform(-1, 1)) * (1 + 0.03 * manoeuvre + 0.01 * own)
            numbers = signals.harmonics(blade_hz * 1.2, sample_rate=sample_rate, highest_hz=7000)
            amplitudes = numbers**-self.slope * rng.uniform(0.3, 1.0, len(numbers))
            cycles = signals.phase(speed_hz, sample_rate=sample_rate) + rng.random()
            (tones,) = signals.oscillate(cycles, amplitudes[np.newaxis], rng=rng)
            hiss = signals.noise(n_samples, signals.band(*self.hiss_hz, order=1), sample_rate=sample_rate, rng=rng)
            total += tones / signals.rms(tones) + self.hiss * hiss * (1 + 0.7 * np.sin(2 * np.pi * cycles))
        return total / signals.rms(total)


def wind(n_samples: int, *, sample_rate: int, rng: np.random.Generator) -> Samples:
    """Gusts (n_samples,): low noise whose level and colour wander."""
    low = signals.noise(n_samples, signals.tilt(-9), sample_rate=sample_rate, rng=rng)
    high = signals.noise(n_samples, signals.band(150, rng.uniform(500, 2000), order=1), sample_rate=sample_rate, rng=rng)
    gusts = 0.5 + 0.5 * signals.wander(n_samples, 2.5, sample_rate=sample_rate, rng=rng)
    return low * (0.3 + gusts) + rng.uniform(0.2, 1.0) * high * gusts**2


def rain(n_samples: int, *, sample_rate: int, rng: np.random.Generator) -> Samples:
    """Rain (n_samples,): a wide hiss and single drops, each a short click of its own strength."""
    hiss = signals.noise(n_samples, signals.band(rng.uniform(500, 2000), 8000, order=1), sample_rate=sample_rate, rng=rng)
    drops = np.zeros(n_samples)
    n_drops = rng.poisson(rng.uniform(20, 150) * n_samples / sample_rate)
    drops[rng.integers(n_samples, size=n_drops)] = rng.exponential(1.0, n_drops) * rng.choice([-1, 1], n_drops)
    drops = signals.filtered(drops, signals.band(800, 5000), sample_rate=sample_rate)
    return hiss + rng.uniform(0.3, 1.5) * drops / max(signals.rms(drops), 1e-9)


def traffic(n_samples: int, *, sample_rate: int, rng: np.random.Generator) -> Samples:
    """A passing engine (n_samples,): firing harmonics that glide, and the noise of tyres."""
    frequency_hz = rng.uniform(40, 130) * np.linspace(1, rng.uniform(0.8, 1.25), n_samples)
    frequency_hz *= 1 + 0.01 * signals.wander(n_samples, 8.0, sample_rate=sample_rate, rng=rng)
    numbers = signals.harmonics(180, sample_rate=sample_rate, highest_hz=rng.uniform(1500, 5000))
    amplitudes = numbers ** -rng.uniform(0.5, 1.5) * rng.uniform(0.2, 1, len(numbers))
    (engine,) = signals.oscillate(signals.phase(frequency_hz, sample_rate=sample_rate), amplitudes[np.newaxis], rng=rng)
    tyres = signals.noise(n_samples, signals.band(200, rng.uniform(900, 2500), order=1), sample_rate=sample_rate, rng=rng)
    passing = 0.4 + np.sin(np.pi * np.linspace(rng.uniform(0, 0.5), rng.uniform(0.5, 1), n_samples))
    return (engine / signals.rms(engine) + rng.uniform(0.3, 2.0) * tyres) * passing


def birds(n_samples: int, *, sample_rate: int, rng: np.random.Generator) -> Samples:
    """Chirps (n_samples,): whistles that sweep between 1.8 and 6 kHz, in short series."""
    total = np.zeros(n_samples)
    for _ in range(rng.integers(1, 4)):
        n_chirp = signals.count(rng.uniform(0.04, 0.15), sample_rate)
        start_hz, end_hz = rng.uniform(1800, 6000, 2)
        sweep = np.sin(2 * np.pi * signals.phase(np.linspace(start_hz, end_hz, n_chirp), sample_rate=sample_rate))
        sweep *= signals.envelope(n_chirp, attack_s=0.01, release_s=0.03, sample_rate=sample_rate)
        step = signals.count(rng.uniform(0.08, 0.3), sample_rate)
        for start in range(rng.integers(step), n_samples - n_chirp, step):
            total[start : start + n_chirp] += sweep * rng.uniform(0.3, 1)
    return total


def insects(n_samples: int, *, sample_rate: int, rng: np.random.Generator) -> Samples:
    """A fly, a bee or a cicada (n_samples,): a wing-beat buzz that comes and goes."""
    frequency_hz = rng.uniform(140, 420) * (1 + 0.05 * signals.wander(n_samples, 4.0, sample_rate=sample_rate, rng=rng))
    numbers = signals.harmonics(450, sample_rate=sample_rate, highest_hz=6000)
    amplitudes = numbers ** -rng.uniform(0.3, 1.5)
    (buzz,) = signals.oscillate(signals.phase(frequency_hz, sample_rate=sample_rate), amplitudes[np.newaxis], rng=rng)
    near = 0.5 + 0.5 * signals.wander(n_samples, 2.0, sample_rate=sample_rate, rng=rng)
    return buzz * near**2


AMBIENCES = (wind, rain, traffic, birds, insects)


@dataclass(frozen=True)
class Session:
    """One place on one day: its room (echoes of the ground and houses), its usual sounds, and one craft."""

    room: Room
    ambiences: tuple[int, ...]  # indices into AMBIENCES of what is heard there
    craft: Craft
    rotor_db: tuple[float, float]  # range of the craft's level against the rest

    def take(
        self, duration_s: float, *, rotor: bool, sample_rate: int, n_channels: int, rng: np.random.Generator
    ) -> Samples:
        """One clip (n, n_channels) of unit RMS; the rotor is all that sets the labels apart."""
        n_samples = signals.count(duration_s, sample_rate)
        scene = np.zeros(n_samples)
        for index in rng.choice(self.ambiences, rng.integers(1, 3), replace=False):
            ambience = AMBIENCES[index](n_samples, sample_rate=sample_rate, rng=rng)
            scene += ambience / max(signals.rms(ambience), 1e-9) * 10 ** (rng.uniform(-12, 0) / 20)
        scene /= signals.rms(scene)
        if rotor:
            craft = self.craft.sound(n_samples, sample_rate=sample_rate, rng=rng)
            scene += craft * 10 ** (rng.uniform(*self.rotor_db) / 20)
        return self.room.record(scene, n_channels=n_channels, sample_rate=sample_rate, rng=rng)


def draw(*, rng: np.random.Generator) -> Session:
    """A session out of doors."""
    room = Room(
        seed=int(rng.integers(2**31)),
        t60_s=rng.uniform(0.1, 0.5),
        reverberance_db=rng.uniform(-18, -6),
        tilt_db=rng.uniform(-2, 1),
        low_hz=rng.uniform(30, 120),
        high_hz=np.exp(rng.uniform(np.log(5000), np.log(12000))),
        noise_db=rng.uniform(-28, -12),
        noise_tilt_db=rng.uniform(-6, -2),
        hum_hz=rng.choice([50.0, 60.0]),
        hum_db=rng.uniform(-30, -6),
    )
    low_hz = rng.uniform(300, 1500)
    craft = Craft(
        blade_hz=np.exp(rng.uniform(np.log(90), np.log(260))),
        detuning=rng.uniform(0.01, 0.06),
        n_rotors=int(rng.choice([2, 4, 4, 6])),
        slope=rng.uniform(0.3, 1.3),
        hiss=10 ** (rng.uniform(-15, 0) / 20),
        hiss_hz=(low_hz, low_hz * rng.uniform(2, 6)),
    )
    level_db = rng.uniform(-3, 5)
    ambiences = tuple(int(index) for index in rng.choice(len(AMBIENCES), 4, replace=False))
    return Session(room=room, ambiences=ambiences, craft=craft, rotor_db=(level_db - 5, level_db + 5))
