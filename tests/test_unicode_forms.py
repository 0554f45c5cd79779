"""Labels in two spellings are named, and paths match whatever Unicode form another system has given them."""

import unicodedata
from pathlib import Path

import pytest
import soundfile
import sounds
from projects import audiocnn

from audiocnn import config
from audiocnn.audit import label_layout
from audiocnn.dataset import manifest
from audiocnn.dataset.manifest import Recording
from audiocnn.files import match_unicode_form

NFC, NFD = (unicodedata.normalize(form, "Käuzchen") for form in ("NFC", "NFD"))


def reported(*labels: str) -> str:
    """The sentence about these labels; empty if there is none."""
    recordings = [Recording(f"{i}.wav", label, "") for i, label in enumerate(labels)]
    return "".join(finding.sentence for finding in label_layout.check_spelling(recordings))


@pytest.mark.parametrize(
    ("twins", "difference"),
    [
        (("Wren", "wren"), "case"),
        (("STRASSE", "straße"), "case"),
        (("great tit", "great  tit"), "spaces or separators"),
        (("great tit", "great_tit"), "spaces or separators"),
        (("greattit", "great-tit"), "spaces or separators"),
        (("owl", "o\u200bwl"), "spaces or separators"),
        (("GreatTit", "great tit"), "case and spaces or separators"),
    ],
)
def test_labels_that_look_the_same_are_named_with_their_difference(twins: tuple[str, str], difference: str) -> None:
    first, second = sorted(twins)
    assert reported(*twins, "owlet") == f"The labels '{first}' and '{second}' differ only in {difference}."


def test_labels_of_two_unicode_forms_are_named_with_their_forms() -> None:
    assert reported(NFC, NFD, "owl") == (f"The labels '{NFD}' (not NFC) and '{NFC}' (NFC) differ only in Unicode form.")


def test_different_labels_are_not_named() -> None:
    assert reported("wren", "wrens", "owl 1", "owl 2", NFC, "Kauzchen") == ""


def test_many_twins_are_counted_in_one_sentence() -> None:
    said = reported(*(f"{name} {i}" for i in range(7) for name in ("owl", "Owl")))
    assert said.count("differ only in case") == 5
    assert said.endswith("; and so do 2 other sets.")


def test_names_match_in_any_unicode_form_and_an_exact_name_comes_first(tmp_path: Path) -> None:
    (tmp_path / NFD).mkdir()
    (tmp_path / NFD / f"{NFC}.wav").touch()
    assert match_unicode_form(tmp_path / NFC / f"{NFD}.wav") == tmp_path / NFD / f"{NFC}.wav"
    (tmp_path / NFD / f"{NFD}.wav").touch()
    assert match_unicode_form(tmp_path / NFC / f"{NFD}.wav") == tmp_path / NFD / f"{NFD}.wav"
    for name in (f"{NFC}2", f"{NFC}/é/a.wav", f"{NFC}\0"):
        assert match_unicode_form(tmp_path / name) == tmp_path / name


@pytest.mark.slow
def test_a_manifest_of_another_system_finds_its_recordings(tmp_path: Path) -> None:
    (tmp_path / f"sounds {NFD}").mkdir()
    for label in (NFD, "owl"):
        (tmp_path / f"sounds {NFD}" / label).mkdir()
        for i in range(2):
            file = tmp_path / f"sounds {NFD}" / label / f"é{i}.wav"
            soundfile.write(file, sounds.noise(0.5, seed=10 * len(label) + i), sounds.RATE)
    table = tmp_path / "list.csv"
    table.write_text(f"path,label\n{NFC}/é0.wav,{NFC}\n{NFC}/é1.wav,{NFD}\nowl/e\u03010.wav,owl\nowl/é1.wav,owl\n")
    done = audiocnn("init", table, "--root", f"sounds {NFD}", cwd=tmp_path)
    assert f"'{NFD}' (not NFC) and '{NFC}' (NFC) differ only in Unicode form. If they are one label" in done.stdout
    (tmp_path / "audiocnn.yaml").write_text((tmp_path / "audiocnn.yaml").read_text().replace(NFD, NFC))
    project = config.read(tmp_path / "audiocnn.yaml")
    assert all(r.file(project.root).is_file() for r in manifest.read(project.manifest, root=project.root))
    assert "4 computed" in audiocnn("featurize", cwd=tmp_path).stdout
    audited = audiocnn("audit", cwd=tmp_path, code=2)
    assert "differ only in Unicode form" in audited.stdout
