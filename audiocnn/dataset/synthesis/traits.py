"""How the traits of players and places are drawn: between two ends, the middle being common and the ends rare."""

import numpy as np


def near(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a value from a triangle over ``low`` to ``high``: a corpus this small should not hang on one freak."""
    return float(rng.triangular(low, (low + high) / 2, high))


def ratio(rng: np.random.Generator, low: float, high: float) -> float:
    """As `near`, on a scale of ratios: for frequencies and times, which are positive."""
    return float(np.exp(near(rng, float(np.log(low)), float(np.log(high)))))


def gain(rng: np.random.Generator, low_db: float, high_db: float) -> float:
    """As `near`, in decibels; returned as a linear amplitude."""
    return float(10 ** (near(rng, low_db, high_db) / 20))
