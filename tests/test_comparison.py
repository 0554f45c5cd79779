"""Networks compared: which is best, and which differences could be chance."""

import numpy as np
import pytest

from audiocnn.results import comparison
from audiocnn.results.comparison import Tally

GROUPS = [f"g{i}" for i in range(60)]


def tallies(**right: np.ndarray) -> dict[str, Tally]:
    """One recording a group, and which of them each network has right."""
    return {name: comparison.tally(list(which), GROUPS, GROUPS) for name, which in right.items()}


def stand(found: dict[str, Tally], **choices: int) -> dict[str, comparison.Standing]:
    settings = {"bootstrap": 1_000, "seed": 0} | choices
    return {one.name: one for one in comparison.standings(found, **settings)}


def first(n: int) -> np.ndarray:
    return np.arange(60) < n


def test_networks_are_ranked_by_accuracy_and_equals_keep_their_order() -> None:
    found = stand(tallies(low=first(20), small=first(40), large=~first(20), high=first(50)))
    assert list(found) == ["high", "small", "large", "low"]
    assert [one.rank for one in found.values()] == [1, 2, 3, 4]
    assert [one.accuracy for one in found.values()] == pytest.approx([50 / 60, 40 / 60, 40 / 60, 20 / 60])
    assert found["low"].difference == pytest.approx(-0.5)


def test_a_difference_is_noise_if_as_many_groups_speak_for_the_one_as_for_the_other() -> None:
    # Each has 30 that the other has not, but for one.
    apart = stand(tallies(a=first(31), b=~first(30)))
    assert apart["b"].in_noise
    low, high = apart["b"].difference_ci95 or (1, 1)
    assert low < 0 < high


def test_the_same_difference_is_no_noise_where_one_network_is_right_wherever_the_other_is() -> None:
    blurred = stand(tallies(a=first(40), b=~first(30)))  # 40 and 30, but with no more than 10 in common
    paired = stand(tallies(a=first(40), b=first(30)))
    assert blurred["b"].difference == paired["b"].difference == pytest.approx(-1 / 6)
    assert blurred["b"].in_noise
    assert not paired["b"].in_noise
    assert blurred["a"].ci95 == paired["a"].ci95  # the intervals themselves cannot tell


def test_networks_that_say_the_same_differ_by_nothing() -> None:
    found = stand(tallies(a=first(40), b=first(40)))
    assert (found["b"].difference, found["b"].difference_ci95, found["b"].in_noise) == (0, (0, 0), True)


def test_groups_are_drawn_and_not_recordings() -> None:
    names = ["g1", "g2", "g3", "g4"]
    groups = list(np.repeat(names, 100))
    one, other = (np.repeat(which, 100) for which in ([1, 1, 0, 1], [1, 0, 1, 0]))
    found = stand({key: comparison.tally(list(which), groups, names) for key, which in (("a", one), ("b", other))})
    assert found["b"].in_noise  # four groups, of which one speaks for b; of 400 recordings 100 would be far from noise
    assert found["a"].ci95 == (0.25, 1.0)


def test_a_group_counts_as_often_as_it_has_recordings() -> None:
    found = stand({"a": Tally(np.array([9.0, 0.0]), np.array([9.0, 1.0]))})
    assert found["a"].accuracy == 0.9
    assert found["a"].ci95 == (0.0, 1.0)


def test_one_group_alone_gives_no_interval_and_no_verdict_against_anybody() -> None:
    found = stand({name: comparison.tally([True, right], ["g", "g"], ["g", "h"]) for name, right in
                   (("a", True), ("b", False))})  # fmt: skip
    assert (found["b"].ci95, found["b"].difference_ci95, found["b"].in_noise) == (None, None, True)


def test_intervals_are_the_same_for_a_seed_and_near_the_textbook() -> None:
    some = tallies(a=first(40), b=first(30))
    assert stand(some) == stand(some)
    assert stand(some, bootstrap=100) != stand(some, bootstrap=100, seed=1)
    low, high = stand(some, bootstrap=20_000)["a"].ci95 or (0, 0)
    spread = 1.96 * np.sqrt(2 / 3 * 1 / 3 / 60)
    assert (low, high) == pytest.approx((2 / 3 - spread, 2 / 3 + spread), abs=0.02)


def test_the_best_of_networks_that_only_guess_has_the_others_in_its_noise() -> None:
    rng = np.random.default_rng(0)
    wrongly_told_apart = []
    for trial in range(100):
        guesses = rng.random((2, 60)) < 0.5
        found = stand(tallies(a=guesses[0], b=guesses[1]), seed=trial, bootstrap=400)
        wrongly_told_apart.append(not all(one.in_noise for one in found.values()))
    assert np.mean(wrongly_told_apart) < 0.12  # 0.05, but for 60 groups and 100 trials
