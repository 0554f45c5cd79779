"""The labels of a classifier: a sequence of names, their indices, and which names are valid."""

import pickle

import numpy as np
import pytest

from audiocnn.errors import ConfigError, ManifestError
from audiocnn.labels import Labels, valid_label

BIRDS = Labels(("owl", "wren", "wind"))


def test_labels_are_a_sequence_of_names() -> None:
    assert list(BIRDS) == ["owl", "wren", "wind"] and len(BIRDS) == 3
    assert (BIRDS[0], BIRDS[-1], BIRDS[1:]) == ("owl", "wind", ("wren", "wind"))
    assert "wren" in BIRDS and "fox" not in BIRDS and None not in BIRDS


def test_encode_is_the_inverse_of_indexing() -> None:
    indices = BIRDS.encode(["wind", "owl", "wind"])
    assert indices.dtype == np.intp and indices.tolist() == [2, 0, 2]
    assert [BIRDS[i] for i in indices] == ["wind", "owl", "wind"]
    assert [BIRDS.index(name) for name in BIRDS] == [0, 1, 2]


def test_an_unknown_name_is_an_error_unless_a_value_for_it_is_given() -> None:
    assert BIRDS.encode(["fox", "owl"], unknown=3).tolist() == [3, 0]
    for look_up in (lambda: BIRDS.encode(["owl", "fox"]), lambda: BIRDS.index("fox")):
        with pytest.raises(ValueError, match="'fox' is none of the labels"):
            look_up()


def test_labels_survive_pickling_and_are_hashable() -> None:
    pair = Labels(("drone", "other"), positive="other")
    assert pair.positive_index == 1 and BIRDS.positive_index is None
    again = pickle.loads(pickle.dumps(pair))
    assert again == pair and hash(again) == hash(pair) and again.index("other") == 1
    assert pair != Labels(("drone", "other"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (Labels(("owl", "owl")), "a label is given twice"),
        (Labels(("owl", "")), "label is empty"),
        (Labels(("owl", "=1+1")), "'=1\\+1' begins with ="),
        (Labels(("owl", "\x1b[2J")), r"'\\x1b\[2J' contains a control code"),
        (Labels(("owl", "wind"), positive="fox"), "positive 'fox' is none of the labels"),
    ],
)
def test_duplicate_and_unsafe_names_are_refused(labels: Labels, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        labels.validate()


def test_a_label_in_a_manifest_is_stripped_or_refused_with_its_place() -> None:
    assert valid_label(" owl ", "line 3") == "owl"
    for name, fault in (("  ", "is empty"), ("@owl", "begins with = "), ("o\x00l", "contains a control code")):
        with pytest.raises(ManifestError, match=f"^line 3: label .*{fault}"):
            valid_label(name, "line 3")


def test_a_label_that_the_model_lacks_is_refused_with_similar_ones_or_all() -> None:
    BIRDS.require(["owl", "wind"])
    with pytest.raises(ConfigError, match=r"label 'Wrem': the model does not have it; did you mean wren\?"):
        BIRDS.require(["owl", "Wrem"])
    with pytest.raises(ConfigError, match="the model does not have it; it has owl, wren, wind"):
        BIRDS.require(["tuba"])
