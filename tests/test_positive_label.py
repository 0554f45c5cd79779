"""Which of two labels is the one to detect."""

import itertools

import pytest

from audiocnn.dataset import positive_label
from audiocnn.dataset.manifest import Recording

# Names of what is not looked for, beside what is.
RESTS = [
    ("_background_noise_", "marvin"),
    ("Background", "chainsaw"),
    ("ambient noise", "siren"),
    ("NEGATIVE", "POSITIVE"),
    ("negative_samples", "cough"),
    ("normal", "abnormal"),
    ("Normal heart", "murmur"),
    ("noise", "whale"),
    ("traffic_noise", "boat"),
    ("other", "wren"),
    ("Others", "drone"),
    ("silence", "speech"),
    ("unknown", "right"),
    ("unknown birds", "kiwi"),
    ("no_gunshot", "gunshot"),
    ("no", "yes"),
    ("nocall", "call"),
    ("no-call", "song"),
    ("not_bee", "bee"),
    ("not a bird", "bird"),
    ("non_drone", "drone"),
    ("nonDrone", "drone"),
    ("nonspeech", "speech"),
    ("absent", "present"),
    ("false", "true"),
    ("0", "1"),
]


def chosen(counts: dict[str, int], background: str | None = None) -> tuple[str, str]:
    labels = itertools.chain(*([label] * n for label, n in counts.items()))
    return positive_label.choose([Recording(str(i), label, "") for i, label in enumerate(labels)], background)


@pytest.mark.parametrize(("rest", "sought"), RESTS)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_label_that_names_the_rest_is_never_the_one_to_detect(rest: str, sought: str, n: int) -> None:
    assert chosen({rest: n, sought: 2}) == (sought, f"'{rest}' stands for the rest")


@pytest.mark.parametrize(
    ("common", "rare"),
    [
        ("owl", "wren"),
        ("engine", "bat"),
        ("nothofagus", "robin"),
        ("noctule", "serotine"),
        ("restless", "calm"),
        ("🦉", "🐸"),
    ],
)
def test_of_two_other_labels_it_is_the_rarer_one(common: str, rare: str) -> None:
    assert chosen({common: 3, rare: 2}) == (rare, "the rarer one")
    assert chosen({common: 2, rare: 3}) == (common, "the rarer one")


def test_of_two_names_for_the_rest_it_is_the_rarer_one() -> None:
    assert chosen({"noise": 3, "silence": 2}) == ("silence", "the rarer one")
    assert chosen({"noise": 1, "brown noise type": 2}) == ("brown noise type", "'noise' stands for the rest")


def test_a_tie_is_not_called_rarer() -> None:
    assert chosen({"wren": 2, "owl": 2}) == ("owl", "the first by name, as both are equally frequent")


def test_with_a_label_for_what_is_not_annotated_it_is_the_other_one() -> None:
    assert chosen({"noise": 5, "rest of it": 2}, background="rest of it") == ("noise", "the annotated one")
