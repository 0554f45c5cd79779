"""Windows made different: what changes, what stays, and that the generator alone decides."""

import numpy as np
import pytest

from audiocnn.training import batches


def windows(n: int = 200) -> np.ndarray:
    """Windows (n, 12, 10, 2) without a zero."""
    return np.random.default_rng(1).uniform(1, 2, (n, 12, 10, 2)).astype(np.float32)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_mask_hides_one_stretch_of_one_axis_and_changes_nothing_else(axis):
    X = windows()
    masked = batches.masked(X, 0.4, axis, np.random.default_rng(0))
    hidden = masked == 0
    assert np.array_equal(masked[~hidden], X[~hidden])
    along = hidden.all(axis=(2 if axis == 1 else 1, 3))
    assert np.array_equal(hidden.any(axis=(2 if axis == 1 else 1, 3)), along)  # all channels, the whole other axis
    lengths = along.sum(axis=1)
    edges = np.abs(np.diff(along.astype(int), axis=1)).sum(axis=1) + along[:, 0] + along[:, -1]
    assert set(edges) <= {0, 2}  # one stretch at most
    assert lengths.max() <= np.ceil(0.4 * X.shape[axis])
    assert len(set(lengths)) > 3
    assert along[:, 0].any()
    assert along[:, -1].any()


def test_mixed_windows_and_targets_have_the_same_shares():
    X = windows(50)
    X[..., 0] = np.arange(50, dtype=np.float32)[:, None, None]  # so that shares can be read off
    targets = np.eye(50, dtype=np.float32)
    mixed, blended = batches.mixed(X, targets, 0.4, np.random.default_rng(0))
    np.testing.assert_allclose(blended.sum(axis=1), 1, rtol=1e-6)
    assert ((blended > 0).sum(axis=1) <= 2).all()
    np.testing.assert_allclose(mixed[:, 3, 4, 0], blended @ np.arange(50, dtype=np.float32), rtol=1e-4, atol=1e-4)
    assert (blended.max(axis=1) < 0.99).sum() > 5


@pytest.mark.parametrize("axis", [1, 2])
def test_shifted_windows_are_moved_whole_and_repeat_their_edge(axis):
    X = windows(300)
    shifted = batches.shifted(X, 0.3, axis, np.random.default_rng(0))
    most = int(0.3 * X.shape[axis])
    found = set()
    for before, after in zip(np.moveaxis(X, axis, 1), np.moveaxis(shifted, axis, 1), strict=True):
        padded = np.pad(before, ((most, most), (0, 0), (0, 0)), mode="edge")
        fits = [by for by in range(-most, most + 1) if np.array_equal(padded[most - by :][: len(before)], after)]
        assert len(fits) == 1
        found.update(fits)
    assert found == set(range(-most, most + 1))


def test_louder_windows_gain_one_number_of_decibels_each():
    X = windows(100)
    decibel = np.zeros(X.shape[1:], np.float32)
    decibel[..., 0] = 1
    gained = batches.louder(X, 6.0, decibel, np.random.default_rng(0)) - X
    assert not gained[..., 1].any()
    assert np.ptp(gained[..., 0], axis=(1, 2)).max() < 1e-5
    assert gained.max() < 6.001
    assert gained[:, 0, 0, 0].std() == pytest.approx(6 / np.sqrt(3), rel=0.2)  # uniform in -6..6


def test_the_generator_alone_decides():
    X, targets = windows(20), np.eye(20, dtype=np.float32)
    for change in (
        lambda seed: batches.masked(X, 0.5, 1, np.random.default_rng(seed)),
        lambda seed: batches.shifted(X, 0.5, 2, np.random.default_rng(seed)),
        lambda seed: batches.louder(X, 6.0, np.ones(1, np.float32), np.random.default_rng(seed)),
        lambda seed: batches.mixed(X, targets, 0.3, np.random.default_rng(seed))[0],
    ):
        assert np.array_equal(change(1), change(1))
        assert not np.array_equal(change(1), change(2))
    assert np.array_equal(X, windows(20))  # what was given is left alone
