"""Synthesize outdoor scenes: wind, rain, traffic, birds and insects, with or without the rotors of a drone."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from audiocnn.dataset.synthesis import signals
from audiocnn.dataset.synthesis.instruments import draw, draw_gain, draw_ratio
from audiocnn.dataset.synthesis.rooms import Room
from audiocnn.dataset.synthesis.signals import Samples


@dataclass(frozen=True)
class Drone:
    """A drone of several rotors, each with harmonics of its blade-passing frequency and noise modulated at that rate.

    Tones and broadband noise make up the sound of a small propeller (Sinibaldi and Marino 2013).
    """

    blade_hz: float  # blade-passing frequency while hovering
    detuning: float  # relative spread of the rotors' speeds
    n_rotors: int
    slope: float  # harmonics fall as 1 / k ** slope
    hiss: float  # RMS of the broadband noise, relative to the tones
    hiss_hz: tuple[float, float]  # band of the noise

    def sound(self, n_samples: int, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return the sound of the drone in motion (n_samples,), with unit RMS."""
        total = np.zeros(n_samples)
        common = signals.slow_random_curve(n_samples, 1.5, sample_rate=sample_rate, rng=rng)
        thrust = rng.uniform(0.85, 1.18)
        for _ in range(self.n_rotors):
            individual = signals.slow_random_curve(n_samples, 4.0, sample_rate=sample_rate, rng=rng)
            speed_hz = self.blade_hz * thrust * (1 + self.detuning * rng.uniform(-1, 1))
            speeds_hz = speed_hz * (1 + 0.03 * common + 0.01 * individual)
            tones, cycles = _buzz(speeds_hz, self.slope, highest_hz=7000, sample_rate=sample_rate, rng=rng)
            hiss = signals.noise(n_samples, signals.band(*self.hiss_hz, order=1), sample_rate=sample_rate, rng=rng)
            total += tones + self.hiss * hiss * (1 + 0.7 * np.sin(2 * np.pi * cycles))
        return total / signals.rms(total)


def wind(n_samples: int, *, sample_rate: int, rng: np.random.Generator) -> Samples:
    """Return gusts (n_samples,): low noise with a slowly varying level, and a spectrum that follows it."""
    hum = signals.noise(n_samples, signals.tilt(-9), sample_rate=sample_rate, rng=rng)
    corners = signals.band(150, rng.uniform(500, 2000), order=1)
    whistle = signals.noise(n_samples, corners, sample_rate=sample_rate, rng=rng)
    gusts = 0.5 + 0.5 * signals.slow_random_curve(n_samples, 2.5, sample_rate=sample_rate, rng=rng)
    return hum * (0.3 + gusts) + rng.uniform(0.2, 1.0) * whistle * gusts**2


def rain(n_samples: int, *, sample_rate: int, rng: np.random.Generator) -> Samples:
    """Return rain (n_samples,): broadband noise and single drops, short clicks of random strength."""
    corners = signals.band(rng.uniform(500, 2000), 8000, order=1)
    hiss = signals.noise(n_samples, corners, sample_rate=sample_rate, rng=rng)
    drops = np.zeros(n_samples)
    n_drops = rng.poisson(rng.uniform(50, 400) * n_samples / sample_rate)
    drops[rng.integers(n_samples, size=n_drops)] = rng.exponential(1.0, n_drops) * rng.choice([-1, 1], n_drops)
    drops = signals.filter_samples(drops, signals.band(800, 5000), sample_rate=sample_rate)
    return hiss + rng.uniform(0.2, 0.8) * drops / signals.rms(drops)


def traffic(n_samples: int, *, sample_rate: int, rng: np.random.Generator) -> Samples:
    """Return a passing vehicle (n_samples,): engine harmonics with gliding pitch, and tyre noise."""
    glide = np.linspace(1, rng.uniform(0.8, 1.25), n_samples)
    jitter = 1 + 0.01 * signals.slow_random_curve(n_samples, 8.0, sample_rate=sample_rate, rng=rng)
    engine, _ = _buzz(
        rng.uniform(40, 130) * glide * jitter,
        rng.uniform(0.5, 1.5),
        highest_hz=rng.uniform(500, 3000),
        sample_rate=sample_rate,
        rng=rng,
    )
    corners = signals.band(200, rng.uniform(900, 2500), order=1)
    tyres = signals.noise(n_samples, corners, sample_rate=sample_rate, rng=rng)
    passing = 0.4 + np.sin(np.pi * np.linspace(rng.uniform(0, 0.5), rng.uniform(0.5, 1), n_samples))
    return (engine + rng.uniform(0.3, 2.0) * tyres) * passing


def birds(n_samples: int, *, sample_rate: int, rng: np.random.Generator) -> Samples:
    """Return chirps (n_samples,): sweeps between 1.8 and 6 kHz, in short series."""
    total = np.zeros(n_samples)
    for _ in range(rng.integers(1, 4)):
        n_chirp = signals.time_to_samples(rng.uniform(0.04, 0.15), sample_rate)
        sweep_hz = np.linspace(rng.uniform(1800, 6000), rng.uniform(1800, 6000), n_chirp)
        chirp = np.sin(2 * np.pi * signals.running_phase(sweep_hz, sample_rate=sample_rate))
        chirp *= signals.envelope(n_chirp, attack_s=0.01, release_s=0.03, sample_rate=sample_rate)
        step = signals.time_to_samples(rng.uniform(0.08, 0.3), sample_rate)
        for start in range(rng.integers(step), n_samples - n_chirp, step):
            total[start : start + n_chirp] += chirp * rng.uniform(0.3, 1)
    return total


def insects(n_samples: int, *, sample_rate: int, rng: np.random.Generator) -> Samples:
    """Return a fly or a bee (n_samples,): harmonics of its wing beat, with a slowly varying level."""
    flight = 1 + 0.05 * signals.slow_random_curve(n_samples, 4.0, sample_rate=sample_rate, rng=rng)
    wings_hz, slope = rng.uniform(140, 420), rng.uniform(0.3, 1.5)
    buzz, _ = _buzz(wings_hz * flight, slope, highest_hz=6000, sample_rate=sample_rate, rng=rng)
    return buzz * (0.5 + 0.5 * signals.slow_random_curve(n_samples, 2.0, sample_rate=sample_rate, rng=rng)) ** 2


AMBIENCES: tuple[Callable[..., Samples], ...] = (wind, rain, traffic, birds, insects)


@dataclass(frozen=True)
class Session:
    """One place on one day: a room with a microphone, the ambient sounds, and one drone."""

    room: Room
    ambiences: tuple[Callable[..., Samples], ...]
    drone: Drone
    drone_db: tuple[float, float]  # range of the level of the drone, relative to the ambience

    def take(
        self, duration_s: float, *, rotor: bool, sample_rate: int, n_channels: int, rng: np.random.Generator
    ) -> Samples:
        """Return one clip (n, n_channels) with unit RMS; only the drone differs between the labels."""
        n_samples = signals.time_to_samples(duration_s, sample_rate)
        scene = np.zeros(n_samples)
        for index in rng.permutation(len(self.ambiences))[: rng.integers(1, 3)]:
            ambience = self.ambiences[index](n_samples, sample_rate=sample_rate, rng=rng)
            scene += ambience / signals.rms(ambience) * 10 ** (rng.uniform(-12, 0) / 20)
        scene /= signals.rms(scene)
        if rotor:
            drone = self.drone.sound(n_samples, sample_rate=sample_rate, rng=rng)
            scene += drone * 10 ** (rng.uniform(*self.drone_db) / 20)
        return self.room.record(scene, n_channels=n_channels, sample_rate=sample_rate, rng=rng)


def draw_session(*, rng: np.random.Generator) -> Session:
    """Return a random session."""
    room = Room(
        seed=int(rng.integers(2**31)),
        t60_s=draw(rng, 0.1, 0.5),
        reverberance_db=draw(rng, -18, -6),
        tilt_db=draw(rng, -2, 1),
        low_hz=draw(rng, 30, 120),
        high_hz=draw_ratio(rng, 5000, 12000),
        noise_db=draw(rng, -28, -12),
        noise_tilt_db=draw(rng, -6, -2),
        hum_hz=float(rng.choice([50.0, 60.0])),
        hum_db=draw(rng, -30, -6),
    )
    low_hz = draw(rng, 300, 1500)
    drone = Drone(
        blade_hz=draw_ratio(rng, 90, 260),
        detuning=draw(rng, 0.01, 0.06),
        n_rotors=int(rng.choice([2, 4, 4, 6])),
        slope=draw(rng, 0.3, 1.3),
        hiss=draw_gain(rng, -15, 0),
        hiss_hz=(low_hz, low_hz * draw(rng, 2, 6)),
    )
    ambiences = tuple(AMBIENCES[index] for index in rng.permutation(len(AMBIENCES))[:4])
    drone_db = draw(rng, -2.5, 5.5)
    return Session(room, ambiences, drone, drone_db=(drone_db - 5, drone_db + 5))


def _buzz(
    frequency_hz: Samples, slope: float, *, highest_hz: float, sample_rate: int, rng: np.random.Generator
) -> tuple[Samples, Samples]:
    """Return harmonics (n,) of ``frequency_hz`` with unit RMS, random around 1 / k ** slope, and their phase."""
    numbers = signals.harmonics(float(np.max(frequency_hz)), sample_rate=sample_rate, highest_hz=highest_hz)
    amplitudes = numbers**-slope * rng.uniform(0.3, 1.0, len(numbers))
    cycles = signals.running_phase(frequency_hz, sample_rate=sample_rate) + rng.random()
    (tones,) = signals.oscillate(cycles, amplitudes[np.newaxis], rng=rng)
    return tones / signals.rms(tones), cycles
