"""Annotations: finding the files of a recording, reading and refusing them, and resolving overlaps."""

import os
import random

import pytest

from audiocnn.dataset import annotations
from audiocnn.dataset.annotations import find_annotations, read
from audiocnn.dataset.stretches import Stretch, find_gaps, resolve_overlaps
from audiocnn.errors import ManifestError

RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tAnnotation\n"
AUDACITY = "1.000000\t2.500000\tsong\n"


def raven(*rows, header=RAVEN):
    return header + "".join("\t".join(map(str, row)) + "\n" for row in rows)


def written(file, content=""):
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.fixture
def reading(tmp_path):
    def read_text(content, **options):
        return [(s.start_s, s.end_s, s.label) for s in read(written(tmp_path / "rec.txt", content), **options)]

    return read_text


@pytest.fixture
def refusal(tmp_path):
    def message(content, name="rec.txt", **options):
        """The message, less the file that it begins with."""
        file = written(tmp_path / name, content)
        with pytest.raises(ManifestError) as refused:
            read(file, **options)
        assert "\n" not in str(refused.value)
        assert str(refused.value).startswith(f"{file}: ")
        return str(refused.value).removeprefix(f"{file}: ")

    return message


def names_beside(folder, recording="rec.wav"):
    found = find_annotations(folder / recording)
    assert all(file.parent == folder for file in found)
    return [file.name for file in found]


# ------------------------------------------------------------------------------------------------ next to a recording


@pytest.mark.parametrize(
    "name",
    [
        "rec.txt",
        "rec.TXT",
        "rec.wav.txt",
        "rec.WAV.txt",
        "rec.selections.txt",
        "rec.Selections.TXT",
        "rec.Table.1.selections.txt",
        "rec.table.12.SELECTIONS.txt",
        "rec.wav.Table.1.selections.txt",
        "rec.wav.Table01.txt",
        "rec.Band_Limited_Energy_Detector.selections.txt",
        "rec.Band.Limited.Energy.Detector.selections.txt",
    ],
)
@pytest.mark.parametrize("content", [AUDACITY, RAVEN])
def test_annotations_are_found_by_the_names_that_raven_and_audacity_give(tmp_path, name, content):
    written(tmp_path / "rec.wav")
    written(tmp_path / name, content)
    assert names_beside(tmp_path) == [name]


@pytest.mark.parametrize(
    "name", ["other.txt", "rec2.txt", "rec_2.txt", "rec.2.txt", "rec.log", "rec.json", "xrec.selections.txt", ".txt"]
)
def test_files_of_other_names_are_left_out(tmp_path, name):
    written(tmp_path / "rec.wav")
    written(tmp_path / name, AUDACITY)
    assert names_beside(tmp_path) == []


def test_all_annotations_of_a_recording_are_returned_sorted(tmp_path):
    written(tmp_path / "rec.wav")
    names = ["rec.Table.1.selections.txt", "rec.selections.txt", "rec.txt", "rec.wav.Table.2.selections.txt"]
    for name in reversed(names):
        written(tmp_path / name, RAVEN)
    assert names_beside(tmp_path) == names


def test_an_annotation_belongs_to_the_recording_whose_name_it_shares_longest(tmp_path):
    for name in ("rec.wav", "rec.1.wav", "rec.flac"):
        written(tmp_path / name)
    for name in ("rec.1.selections.txt", "rec.1.txt", "rec.wav.txt", "rec.selections.txt", "rec.2.selections.txt"):
        written(tmp_path / name, AUDACITY)
    assert names_beside(tmp_path, "rec.1.wav") == ["rec.1.selections.txt", "rec.1.txt"]
    assert names_beside(tmp_path, "rec.wav") == ["rec.2.selections.txt", "rec.selections.txt", "rec.wav.txt"]
    assert names_beside(tmp_path, "rec.flac") == ["rec.2.selections.txt", "rec.selections.txt"]


def test_a_recording_without_the_suffix_of_one_has_annotations_too(tmp_path):
    written(tmp_path / "rec.dat")
    names = ["rec.Table.1.selections.txt", "rec.dat.selections.txt"]
    for name in names:
        written(tmp_path / name, RAVEN)
    assert names_beside(tmp_path, "rec.dat") == names


@pytest.mark.parametrize("stem", ["not utf-8 \udce9", "[a]*?", "two\nlines", "a.b..c", " "])
def test_names_may_hold_anything(tmp_path, stem):
    for name in (f"{stem}.wav", "a.wav"):
        written(tmp_path / name)
    names = [f"{stem}.Table.1.selections.txt", f"{stem}.txt"]
    for name in names:
        written(tmp_path / name, AUDACITY)
    assert names_beside(tmp_path, f"{stem}.wav") == names
    assert [s.label for s in read(tmp_path / names[0])] == ["song"]


@pytest.mark.parametrize(
    "content",
    [
        "Windy, second microphone broken.\n",
        "1.0\t220.5\n2.0\t221.5\n",
        "Begin Time (s)\tLabel\n1\tx\n",
        "\\\t100\t200\n",
        b"\x00\xff\x12" * 50,
        b"\xff\xfeodd",
    ],
)
def test_notes_are_no_annotation_unless_they_bear_ravens_own_name(tmp_path, content, refusal):
    written(tmp_path / "rec.wav")
    written(tmp_path / "rec.txt", content)
    message = refusal(content, name="rec.selections.txt")
    assert names_beside(tmp_path) == ["rec.selections.txt"]
    assert message.startswith("is not an annotation file; expected a Raven table with Begin Time (s) and End Time")
    assert refusal(content) == message


@pytest.mark.parametrize("content", ["", " \r\n\t\n", "\ufeff"])
def test_an_empty_file_named_after_the_recording_has_no_stretches(tmp_path, content, refusal):
    written(tmp_path / "rec.wav")
    for name in ("rec.txt", "rec.wav.txt", "rec.Table.1.txt"):
        written(tmp_path / name, content)
    assert names_beside(tmp_path) == ["rec.txt"]
    assert read(tmp_path / "rec.txt") == []
    assert "is not an annotation file" in refusal(content, name="rec.selections.txt")


def test_a_file_that_is_too_large_is_no_annotation(tmp_path, monkeypatch, refusal):
    monkeypatch.setattr(annotations, "_MAX_BYTES", 2**20)
    text = AUDACITY + " " * (2**20 - len(AUDACITY))
    written(tmp_path / "rec.wav")
    written(tmp_path / "rec.txt", text)
    assert names_beside(tmp_path) == ["rec.txt"]
    assert refusal(text + " ") == "is larger than 1 MiB, the limit for an annotation file; move it away"
    assert names_beside(tmp_path) == []


def test_folders_and_pipes_are_no_annotations(tmp_path, in_time):
    written(tmp_path / "rec.wav")
    (tmp_path / "rec.txt").mkdir()
    os.mkfifo(tmp_path / "rec.selections.txt")
    assert names_beside(tmp_path) == []


def test_a_folder_is_listed_once_for_all_recordings_and_again_when_it_has_changed(tmp_path, monkeypatch):
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    for i in range(50):
        written(tmp_path / f"{i}.wav")
    written(tmp_path / "7.txt", AUDACITY)
    os.utime(tmp_path, (1, 1))
    assert [i for i in range(50) if names_beside(tmp_path, f"{i}.wav")] == [7]
    assert len(listed) == 1
    written(tmp_path / "8.txt", AUDACITY)
    os.utime(tmp_path, (2, 2))
    assert [i for i in range(50) if names_beside(tmp_path, f"{i}.wav")] == [7, 8]
    assert len(listed) == 2


def test_what_cannot_be_read_is_named(tmp_path, monkeypatch):
    with pytest.raises(ManifestError, match=r"none: cannot be listed \(No such file"):
        find_annotations(tmp_path / "none" / "rec.wav")
    with pytest.raises(ManifestError, match=r"\\x1brec\.txt: cannot be read \(No such file"):
        read(tmp_path / "\x1brec.txt")
    written(tmp_path / "rec.wav")
    written(tmp_path / "rec.txt", AUDACITY)
    names_beside(tmp_path)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ManifestError, match=r"rec\.txt: cannot be read \(Permission denied"):
        find_annotations(tmp_path / "rec.wav")


# --------------------------------------------------------------------------------------------------- Audacity's labels

LABELS = "3.5\t6.1\tsecond, ré\n\\\t1484.6\t-1.0\n\n2.15\t2.15\tpoint\n"


@pytest.mark.parametrize(
    "content",
    [
        LABELS,
        LABELS.replace("\n", "\r\n"),
        LABELS.replace("\n", "\r"),
        "\ufeff" + LABELS,
        LABELS.encode("utf-16"),
        b"\xfe\xff" + LABELS.encode("utf-16-be"),
        LABELS.encode("latin-1"),
        LABELS.rstrip("\n"),
        "\n" + LABELS,
        LABELS.replace(".", ","),
        LABELS.replace("second, ré", " second, ré\t\t").replace("3.5", " 3.5e0 "),
    ],
)
def test_labels_are_read_in_order_of_time_whatever_wrote_them(reading, content):
    assert reading(content) == [(2.15, 2.15, "point"), (3.5, 6.1, "second, ré")]


def test_only_line_ends_end_a_line(reading):
    assert reading("1\t2\ta\u2028b\n") == [(1, 2, "a\u2028b")]


def test_minus_zero_is_zero(reading):
    assert str(reading("-0.0\t1\tx\n")[0][0]) == "0.0"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("one\t2\tx", "time 'one' is not a number of seconds of at least 0; correct it"),
        ("1\tnan\tx", "time 'nan' is not a number of seconds of at least 0; correct it"),
        ("1\t1e999\tx", "time '1e999' is not a number of seconds of at least 0; correct it"),
        ("1\t1_0\tx", "time '1_0' is not a number of seconds of at least 0; correct it"),
        ("1\t1,000.5\tx", "time '1,000.5' is not a number of seconds of at least 0; correct it"),
        ("-1\t2\tx", "time '-1' is not a number of seconds of at least 0; correct it"),
        ("\x1b\t2\tx", "time '\\x1b' is not a number of seconds of at least 0; correct it"),
        ("2.000001\t2\tx", "end 2 s is before start 2.000001 s; correct them"),
        ("1\t2\t", "label is empty; name it"),
        ("1\t2", "label is empty; name it"),
        ("1\t2\t=cmd", "label '=cmd' begins with = + - or @; rename it"),
        ("1\t2\ta\x1b[31m", "label 'a\\x1b[31m' contains a control code; rename it"),
        ("1\t2\ta\tb", "label 'a\\x09b' contains a control code; rename it"),
        ("and then a note", "expected start, end and label, separated by tabs; correct it"),
    ],
)
def test_a_line_that_cannot_be_used_is_refused_with_its_number(refusal, line, problem):
    assert refusal(f"0\t1\tx\n\\\t1\t2\n\n{line}\n") == f"line 4: {problem}"


# ------------------------------------------------------------------------------------------------------ Raven's tables

ROWS = [
    (2, "Waveform 1", 1, 29.5, 40.25, 1587.0, 4136.4, "donkey"),
    (2, "Spectrogram 1", 1, 29.5, 40.25, 1587.0, 4136.4, "donkey"),
    (1, "Waveform 1", 1, 6.75, 15.0, 1739.0, 3798.8, "bird"),
    (1, "Spectrogram 1", 1, 6.75, 15.0, 1739.0, 3798.8, "bird"),
]


def test_a_selection_counts_once_however_many_views_list_it(reading):
    assert reading(raven(*ROWS)) == [(6.75, 15.0, "bird"), (29.5, 40.25, "donkey")]


def test_two_selections_of_the_same_times_stay_two_until_untangled(reading):
    assert reading(raven(ROWS[0], (3, *ROWS[0][1:]))) == [(29.5, 40.25, "donkey")] * 2


def test_a_table_without_selections_has_no_stretches(reading):
    assert reading(RAVEN) == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_a_table_may_be_saved_on_windows(reading, encoding):
    text = raven((1, "Waveform 1", 1, "6,75", "15,0", 1, 2, "mésange")).replace("\n", "\r\n")
    assert reading(text.encode(encoding)) == [(6.75, 15.0, "mésange")]


def test_a_table_may_be_quoted_as_r_does_and_its_columns_may_have_any_case_and_order(reading):
    assert reading('"Species"\t"End Time (S)"\t"Begin Time (S)"\n"a "\t2\t1\n') == [(1, 2, "a")]


def table_of(*columns):
    """A table whose cells are the names of their columns in capitals."""
    header = "\t".join(("Begin Time (s)", *columns, "End Time (s)")) + "\n"
    return header + "\t".join(("1", *("1" if "Offset" in c else c.upper() for c in columns), "2")) + "\n"


MEASURED = (
    "Selection",
    "View",
    "Channel",
    "Low Freq (Hz)",
    "Begin File",
    "End File",
    "Begin Path",
    "File Offset (s)",
    "Begin Clock Time",
    "End Clock Time",
    "Begin Date",
    "Begin Sample (samples)",
    "Avg Power Density (dB FS/Hz)",
    "Peak Power (dB)",
    "Inband Power (dB FS)",
    "RMS Amp (U)",
    "Max Bearing (u)",
    "Agg Entropy (bits)",
    "",
)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("Code", "Species", "Notes"), "SPECIES"),
        (("species", "Label", "Annotation"), "ANNOTATION"),
        (("Call Type", "Type", "Observer"), "TYPE"),
        (("Common Name", "Confidence"), "COMMON NAME"),
        (("Bird", *MEASURED), "BIRD"),
        ((*MEASURED, "Species (Latin)"), "SPECIES (LATIN)"),
    ],
)
def test_the_column_of_labels_is_the_usual_one_or_the_only_one_not_ravens(reading, columns, expected):
    assert reading(table_of(*columns)) == [(1, 2, expected)]


@pytest.mark.parametrize("name", ["Bird", "bird ", "BIRD"])
def test_the_column_of_labels_may_be_named(reading, name):
    assert reading(table_of("Species", "Bird"), label_column=name) == [(1, 2, "BIRD")]


@pytest.mark.parametrize("columns", [("Bird", "Notes"), ("View",)])
def test_columns_that_leave_it_open_are_listed(refusal, columns):
    listed = ", ".join(("Begin Time (s)", *columns, "End Time (s)"))
    expected = f"line 1: cannot tell which column holds the labels; pass --label-column NAME, one of: {listed}"
    assert refusal(table_of(*columns)) == expected


def test_a_column_that_is_not_there_is_refused_with_the_nearest(refusal):
    listed = "Begin Time (s), Species, End Time (s)"
    expected = f"line 1: has no column 'Spezies'; did you mean 'Species'? It has: {listed}"
    assert refusal(table_of("Species"), label_column="Spezies") == expected
    expected = f"line 1: has no column 'x\\x1b'; it has: {listed}"
    assert refusal(table_of("Species"), label_column="x\x1b") == expected


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ((3, "", 1, "", 2, 0, 0, "x"), "time '' is not a number of seconds of at least 0; correct it"),
        ((3, "", 1, 3, 2, 0, 0, "x"), "end 2 s is before start 3 s; correct them"),
        ((3, "", 1, 1, 2, 0, 0, ""), "label is empty; name it"),
        ((3, "", 1, 1, 2), "label is empty; name it"),
        ((3, "", 1, 1, 2, 0, 0, "@x"), "label '@x' begins with = + - or @; rename it"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_with_its_line(refusal, row, problem):
    assert refusal(raven(*ROWS, row)) == f"line 6: {problem}"


@pytest.mark.parametrize("column", ["Begin File", "Begin Path"])
def test_a_table_of_several_recordings_is_refused_as_its_times_count_from_the_first(reading, refusal, column):
    table = f"Begin Time (s)\tEnd Time (s)\t{column}\tSpecies\n1\t2\ta.wav\tx\n3\t4\t\tx\n5\t6\ta.wav\tx\n"
    assert len(reading(table)) == 3
    message = refusal(table + "7\t8\tb.wav\tx\n")
    assert message == (
        "line 5: belongs to another recording than the rows above, and its times count from the first one; "
        "add the measurement File Offset (s) in Raven and save the table again"
    )


# ------------------------------------------------------------------------------------------------ stretches set right


def rastered(stretches):
    """Second by second: the same answers for stretches of whole seconds, found by counting."""
    at = {t: {s.label for s in stretches if s.start_s <= t < s.end_s} for t in range(20)}
    sole = {(t, *labels) for t, labels in at.items() if len(labels) == 1}
    points = {
        s
        for s in stretches
        if s.start_s == s.end_s and not any(other.start_s < s.start_s < other.end_s for other in stretches)
    }
    return sole, points, sum(len(labels) > 1 for labels in at.values())


def test_untangled_agrees_with_counting_second_by_second():
    rng = random.Random(7)
    for _ in range(400):
        starts = [rng.randrange(12) for _ in range(rng.randrange(8))]
        given = [Stretch(start, start + rng.choice((0, 0, 1, 2, 3, 6)), rng.choice("abc")) for start in starts]
        sole, points, contested = rastered(given)
        pieces, seconds = resolve_overlaps(given)
        assert pieces == sorted(pieces)
        covered = [(t, p.label) for p in pieces for t in range(int(p.start_s), int(p.end_s))]
        assert len(covered) == len(set(covered))
        assert set(covered) == sole
        assert {p for p in pieces if p.start_s == p.end_s} == points
        assert seconds == contested
        ends = {(s.end_s, s.label) for s in given if s.end_s > s.start_s}
        starts = {(p.start_s, p.label) for p in pieces if p.end_s > p.start_s}
        assert {
            (p.end_s, p.label) for p in pieces if p.end_s > p.start_s
        } & starts <= ends  # nothing else parts a piece
        assert resolve_overlaps(pieces) == (pieces, 0)


def test_stretches_of_one_label_become_one_if_they_overlap_but_not_if_they_touch():
    overlapping = [Stretch(0, 3, "a"), Stretch(2, 5, "a"), Stretch(1, 2, "a"), Stretch(4, 4, "a")]
    assert resolve_overlaps(overlapping) == ([Stretch(0, 5, "a")], 0)
    touching = [Stretch(0, 1, "a"), Stretch(1, 2, "a"), Stretch(2, 3, "b"), Stretch(3, 3, "c")]
    assert resolve_overlaps(touching) == (touching, 0)


def test_what_two_labels_claim_is_cut_out_of_both():
    given = [Stretch(0, 10, "a"), Stretch(2, 3, "b"), Stretch(8, 12, "c"), Stretch(5, 5, "d"), Stretch(10, 11, "a")]
    assert resolve_overlaps(given) == ([Stretch(0, 2, "a"), Stretch(3, 8, "a"), Stretch(11, 12, "c")], 4)


def test_cutting_makes_up_no_times():
    rng = random.Random(8)
    for _ in range(200):
        times = [sorted((rng.random(), rng.random())) for _ in range(6)]
        pieces, seconds = resolve_overlaps([Stretch(*pair, rng.choice("ab")) for pair in times])
        given = {t for pair in times for t in pair}
        assert {t for p in pieces for t in (p.start_s, p.end_s)} <= given
        gaps = find_gaps([(p.start_s, p.end_s) for p in pieces], 1.0, 0.0)
        assert {t for gap in gaps for t in gap} <= given | {0.0, 1.0}
        total = sum(p.end_s - p.start_s for p in pieces) + sum(end - start for start, end in gaps)
        assert total == pytest.approx(1.0)
        assert 0 <= seconds <= 1


@pytest.mark.parametrize(
    ("stretches", "expected"),
    [
        ([], [(0, 10)]),
        ([(0, 10)], []),
        ([(4, 6)], [(0, 4), (6, 10)]),
        ([(6, 7), (1, 3), (2, 4), (1, 2)], [(4, 6), (7, 10)]),
        ([(2, 8), (3, 4)], [(0, 2), (8, 10)]),
        ([(5, 5)], [(0, 5), (5, 10)]),
        ([(0, 1), (9, 30)], [(1, 9)]),
        ([(9, 10), (12, 13)], [(0, 9)]),
        ([(12, 13)], [(0, 10)]),
    ],
)
def test_the_rest_is_what_no_stretch_covers(stretches, expected):
    assert find_gaps(stretches, 10, 2) == expected
    assert find_gaps(stretches, 10, 11) == []


def test_the_rest_has_no_gap_of_no_length():
    assert find_gaps([(0, 5), (5, 10)], 10, 0) == []
