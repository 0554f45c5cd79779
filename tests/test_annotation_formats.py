"""Annotations as Raven, Audacity, BirdNET, Praat and audiocnn write them, and the recordings that they belong to."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import pytest
import soundfile
import sounds

from audiocnn.dataset import annotated_folder, annotations, manifest
from audiocnn.dataset.annotated_folder import AnnotatedFolder
from audiocnn.dataset.problems import Report
from audiocnn.errors import ConfigError, ManifestError
from audiocnn.progress import Progress
from audiocnn.stages import init
from audiocnn.stages.init import InitResult

RATE = 8000
TRACK = "0.5\t1\towl\n2\t3\twren\n"
FOUND = [(0.5, 1.0, "owl"), (2.0, 3.0, "wren")]
RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"


def raven(*rows: tuple[object, ...], more: str = "Species") -> str:
    lines = [f"{RAVEN}\t{more}"]
    for number, (start, end, *cells) in enumerate(rows, 1):
        lines.append("\t".join(map(str, (number, "Spectrogram 1", 1, start, end, 200, 3500, *cells))))
    return "\n".join(lines) + "\n"


LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0 
xmax = 4 
tiers? <exists> 
size = 1 
item []: 
    item [1]:
        class = "IntervalTier" 
        name = "calls 2" 
        xmin = 0 
        xmax = 4 
        intervals: size = 4 
        intervals [1]:
            xmin = 0 
            xmax = 0.5 
            text = "" 
        intervals [2]:
            xmin = 0.5 
            xmax = 1 
            text = "owl" 
        intervals [3]:
            xmin = 1 
            xmax = 2 
            text = " " 
        intervals [4]:
            xmin = 2 
            xmax = 3 
            text = "wren" 
"""  # noqa: W291 - as Praat writes it
SHORT = """"ooTextFile"
"TextGrid"
0 4 <exists> 1   ! one tier
"IntervalTier" "calls" 0 4 3
0 0.5 ""
0.5 1 "owl"
2 3 "wren"
"""
BIRDNET_CSV = "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
BIRDNET_TABLE = "Common Name\tSpecies Code\tConfidence\tBegin Path\tFile Offset (s)"

FORMS = {
    "r{}.labels.txt": TRACK,
    "r{}_annotations.txt": "0.5\t1\towl\n\\\t200\t900\n2\t3\twren\n\\\t-1\t800\n",
    "r{}.TextGrid": LONG,
    "r{}-praat.textgrid": SHORT,
    "r{}.wav.tsv": TRACK,
    "r{}.BirdNET.results.csv": BIRDNET_CSV + "0.5,1,Strix,owl,0.8,/x/r{0}.wav\n2,3,Tro,wren,0.9,/x/r{0}.wav\n",
    "r{}.BirdNET.results.txt": "0.5\t1\towl\t0.8123\n2\t3\twren\t0.9000\n",
    "r{}.BirdNET.selection.table.txt": raven(
        (0.5, 1, "owl", "o", 0.8, "/x/r{0}.wav", 0.5), (2, 3, "wren", "w", 0.9, "/x/r{0}.wav", 2), more=BIRDNET_TABLE
    ),
    "r{}.kaleidoscope.csv": "INDIR,FOLDER,IN FILE,OFFSET,DURATION,scientific_name,common_name,confidence\n"
    "/x,d,r{0}.wav,0.5,0.5,Strix,owl,0.8\n/x,d,r{0}.wav,2,1.0,Troglodytes,wren,0.9\n",
    "r{}.events.csv": "recording,start_s,end_s,label,score\nr{0}.wav,0.5,1,owl,0.9\nr{0}.wav,2,3,wren,0.8\n",
    "r{} (checked).csv": "start;end;label\n0,5;1,0;owl\n2;3;wren\n",
    "r{}.dcase.csv": "filename,onset,offset,event_label\nr{0}.wav,0.5,1,owl\nr{0}.wav,2,3,wren\n",
}  # fmt: skip


def written(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def with_recordings(folder: Path, *names: str) -> Path:
    """Files that are recordings by their names."""
    return written(folder, dict.fromkeys(names, b"RIFF"))


def read(folder: Path, report: Report | None = None, **options: object) -> AnnotatedFolder | None:
    files = sorted(file for file in folder.rglob("*.wav"))
    return annotated_folder.read(folder, files, report or Report(), **options)  # type: ignore[arg-type]


def stretches(found: AnnotatedFolder | None) -> dict[str, list[tuple[float | None, float | None, str]]]:
    assert found is not None
    by_path: dict[str, list[tuple[float | None, float | None, str]]] = {}
    for r in found.recordings:
        by_path.setdefault(r.path, []).append((r.start_s, r.end_s, r.label))
    return by_path


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("codec", ["utf-8", "utf-16"])
def test_annotations_are_read_by_their_content_under_any_name_that_begins_with_the_recording(
    name: str, codec: str, tmp_path: Path
) -> None:
    with_recordings(tmp_path, "r1.wav", "r10.wav")
    written(tmp_path, {name.format(n): FORMS[name].replace("{0}", str(n)).encode(codec) for n in (1, 10)})
    report = Report()
    assert stretches(read(tmp_path, report)) == {"r1.wav": FOUND, "r10.wav": FOUND}
    assert report.problems == []


def test_annotations_may_be_in_a_folder_of_their_own(tmp_path: Path) -> None:
    with_recordings(tmp_path / "sounds", "a/r1.wav", "b/r1.wav", "b/r2.wav")
    notes = written(
        tmp_path / "notes", {"a/r1.txt": TRACK, "b/r1.TextGrid": LONG, "r2_labels.csv": "start,end,label\n1,2,fox\n",
                             "README.txt": "See the paper.\n", "r7.txt": TRACK},
    )  # fmt: skip
    report = Report()
    found = stretches(read(tmp_path / "sounds", report, source=notes))
    assert found == {"a/r1.wav": FOUND, "b/r1.wav": FOUND, "b/r2.wav": [(1.0, 2.0, "fox")]}
    assert [(Path(p.file).name, p.outcome, p.problem[:25]) for p in report.problems] == [
        ("README.txt", "not used", "is not an annotation file"), ("r7.txt", "not used", "names no recording below "),
    ]  # fmt: skip


def test_a_name_that_fits_several_recordings_is_refused(tmp_path: Path) -> None:
    with_recordings(tmp_path / "sounds", "a/r1.wav", "b/r1.wav")
    notes = written(tmp_path / "notes", {"r1.txt": TRACK})
    with pytest.raises(ManifestError, match=r"r1\.txt: may belong to a/r1\.wav, b/r1\.wav; put it into a folder"):
        read(tmp_path / "sounds", source=notes)
    table = written(tmp_path, {"all.csv": "recording,start_s,end_s,label\nr1.wav,0,1,owl\n"}) / "all.csv"
    with pytest.raises(ManifestError, match=r"all\.csv: line 2: may belong to a/r1\.wav, b/r1\.wav; name the folder"):
        read(tmp_path / "sounds", source=table)
    table.write_text("recording,start_s,end_s,label\nb\\r1.wav,0,1,owl\n", encoding="utf-8")
    assert stretches(read(tmp_path / "sounds", source=table)) == {"b/r1.wav": [(0.0, 1.0, "owl")]}


@pytest.mark.parametrize(
    "table",
    [
        "recording,start_s,end_s,label,score\nr1.wav,0.5,1,owl,1\n./r2.wav,2,3,wren,1\nr9.wav,0,1,owl,1\n",
        BIRDNET_CSV + "0.5,1,S,owl,0.8,D:\\x\\r1.wav\n2,3,T,wren,0.9,D:\\x\\r2.wav\n0,1,S,owl,1,D:\\x\\r9.wav\n",
        raven((0.5, 1, "/y/r1.wav", 0.5, "owl"), (6, 7, "/y/r2.wav", 2, "wren"), (8, 9, "/y/r9.wav", 0, "owl"),
              more="Begin Path\tFile Offset (s)\tAnnotation"),
        "0.5\t1\tr1.wav: owl\n2\t3\tr2.wav: wren\n0\t1\tr9.wav: owl\n",
    ],
)  # fmt: skip
@pytest.mark.parametrize("given", [False, True])
def test_one_table_may_hold_all_recordings(table: str, given: bool, tmp_path: Path) -> None:
    with_recordings(tmp_path, "r1.wav", "r2.wav", "r3.wav")
    file = written(tmp_path, {"all of them.txt": table}) / "all of them.txt"
    report = Report()
    found = read(tmp_path, report, source=file if given else None)
    assert stretches(found) == {"r1.wav": [(0.5, 1.0, "owl")], "r2.wav": [(2.0, 3.0, "wren")]}
    assert found is not None
    assert found.unannotated == ["r3.wav"]
    (problem,) = report.problems
    assert "r9.wav" in problem.value
    assert problem.problem.startswith("names no recording below")


# Raven's columns


MORE = "Begin File\tFile Offset (s)\tSpecies"


def test_times_of_raven_count_from_the_file_that_a_row_names(tmp_path: Path) -> None:
    with_recordings(tmp_path, "s1.wav", "s2.wav")
    first = raven((12.5, 13, "s1.wav", 0.5, "owl"), (14, 15, "s1.wav", 2, "wren"), more=MORE)
    second = raven((62.5, 63, "s2.wav", "0,5", "owl"), more=MORE)
    written(tmp_path, {"s1.Table.1.selections.txt": first, "s2.Table.1.selections.txt": second})
    assert stretches(read(tmp_path)) == {"s1.wav": FOUND, "s2.wav": FOUND[:1]}


def test_a_raven_table_of_several_files_is_split_by_them(tmp_path: Path) -> None:
    with_recordings(tmp_path, "s1.wav", "s2.wav", "s3.wav")
    table = raven((0.5, 1, "s1.wav", 0.5, "owl"), (14, 15, "s2.wav", 2, "wren"), more=MORE)
    written(tmp_path, {"s1.Table.1.selections.txt": table})
    assert stretches(read(tmp_path)) == {"s1.wav": FOUND[:1], "s2.wav": FOUND[1:]}


@pytest.mark.parametrize("names", [["s2.wav"], ["s1.wav", "s2.wav"], ["s1.wav", "gone.wav"], ["gone.wav"]])
def test_a_row_of_another_recording_is_refused(names: list[str], tmp_path: Path) -> None:
    with_recordings(tmp_path, "s1.wav", "s2.wav")
    table = raven(*((12, 13, name, 0.5, "owl") for name in names), more=MORE)
    written(tmp_path, {"s1.selections.txt": table, "s2.selections.txt": raven((1, 2, "wren"))})
    with pytest.raises(ManifestError) as refused:
        read(tmp_path)
    assert str(refused.value).startswith(
        f"{tmp_path / 's1.selections.txt'}: line {len(names) + 1}: names the recording '{names[-1]}', but the file is "
        "named after s1.wav; correct the row"
    )


def test_a_selection_that_goes_on_in_the_next_file_is_used_in_the_first_and_reported(tmp_path: Path) -> None:
    with_recordings(tmp_path, "s1.wav")
    columns = "Begin File\tEnd File\tFile Offset (s)\tDelta Time (s)\tSpecies"
    written(tmp_path, {"s1.selections.txt": raven((10, 14, "s1.wav", "s2.wav", 3, 4, "owl"), more=columns)})
    report = Report()
    assert stretches(read(tmp_path, report)) == {"s1.wav": [(3.0, 7.0, "owl")]}
    assert [str(p).rpartition(": ")[2] for p in report.problems] == ["goes on in s2.wav; add a row for the part there"]


def test_a_missing_offset_costs_its_row_only(tmp_path: Path) -> None:
    with_recordings(tmp_path, "s1.wav")
    written(
        tmp_path, {"s1.selections.txt": raven((9, 10, "s1.wav", "", "owl"), (14, 15, "s1.wav", 2, "wren"), more=MORE)}
    )
    report = Report()
    assert stretches(read(tmp_path, report)) == {"s1.wav": FOUND[1:]}
    assert [p.problem for p in report.problems] == ["File Offset (s) is empty; fill it in"]


def test_birdnets_row_for_nothing_found_is_an_empty_table(tmp_path: Path) -> None:
    with_recordings(tmp_path, "s1.wav", "s2.wav")
    nothing = raven((0, 3, "nocall", "nocall", 1.0, "/x/s1.wav", 0), more=BIRDNET_TABLE)
    written(tmp_path, {"s1.BirdNET.selection.table.txt": nothing, "s2.txt": TRACK})
    found = read(tmp_path)
    assert found is not None
    assert found.empty == ["s1.wav"]


# Praat


def test_quotes_points_and_line_ends_of_textgrids_are_kept(tmp_path: Path) -> None:
    lines = ['"ooTextFile"', '"TextGrid"', "0", "4", "<exists>", "1", '"TextTier"', '"x 3 4"', "0", "4", "1", "2.5"]
    text = "\r\n".join([*lines, '"a ""b"" 7"', ""])
    file = written(tmp_path, {"r.TextGrid": text}) / "r.TextGrid"
    assert [(a.start_s, a.end_s, a.label, a.line) for a in annotations.read(file)] == [(2.5, 2.5, 'a "b" 7', 12)]


def test_a_textgrid_of_several_tiers_needs_the_name_of_one(tmp_path: Path) -> None:
    text = (
        SHORT.replace("<exists> 1", "<exists> 3")
        + '"IntervalTier" "notes" 0 4 1\n0 4 "windy"\n"TextTier" "none" 0 4 0\n'
    )
    file = written(tmp_path, {"r.TextGrid": text}) / "r.TextGrid"
    with pytest.raises(
        ManifestError, match="cannot tell which tier holds the labels; pass --label-column NAME: calls, notes"
    ):
        annotations.read(file)
    assert [a.label for a in annotations.read(file, label_column="Calls")] == ["owl", "wren"]
    with pytest.raises(ManifestError, match="has no tier 'cals'; did you mean 'calls'"):
        annotations.read(file, label_column="cals")


@pytest.mark.parametrize("size", [60, 80, 100, 110])
def test_a_textgrid_that_ends_early_is_refused(size: int, tmp_path: Path) -> None:
    file = written(tmp_path, {"r.TextGrid": SHORT[:size]}) / "r.TextGrid"
    with pytest.raises(ManifestError, match="is not a complete TextGrid; save it again in Praat"):
        annotations.read(file)


# What is used, and what is not


def test_measurements_are_no_labels(tmp_path: Path) -> None:
    with_recordings(tmp_path, "a/r1.wav", "b/r2.wav")
    for text in ("0.01\t0.02\t120.5\n0.02\t0.03\t121.7\n", "1.0\t220.5\n", "time,f0\n0.1,200\n", "Windy.\n"):
        written(tmp_path, {"a/r1.pitch.txt": text, "b/r2.csv": text})
        assert read(tmp_path) is None


def test_two_files_of_a_recording_are_refused_unless_they_hold_the_same(tmp_path: Path) -> None:
    with_recordings(tmp_path, "r1.wav")
    written(tmp_path, {"r1.txt": TRACK, "r1.TextGrid": LONG})
    report = Report()
    assert stretches(read(tmp_path, report)) == {"r1.wav": FOUND}
    assert [(Path(p.file).name, p.problem) for p in report.problems] == [
        ("r1.txt", "holds the same stretches as r1.TextGrid")
    ]
    written(tmp_path, {"r1.txt": TRACK.replace("owl", "fox")})
    with pytest.raises(ManifestError, match=r"r1\.wav: has 2 annotation files \(r1\.TextGrid, r1\.txt\); keep one, or"):
        read(tmp_path)


@pytest.mark.parametrize("text", [TRACK, "", raven((1, 2, "fox"))])
def test_a_stray_text_does_not_change_how_class_folders_are_read(text: str, tmp_path: Path) -> None:
    with_recordings(tmp_path, *(f"{label}/{label}_{take}.wav" for label in ("cat", "dog") for take in "abc"))
    written(tmp_path, {"cat/cat_b.txt": text})
    report = Report()
    assert read(tmp_path, report) is None
    ((file, outcome),) = [(Path(p.file).name, p.outcome) for p in report.problems]
    assert (file, outcome) == ("cat_b.txt", "not used")
    report.require_none()  # no row is at fault
    written(tmp_path, {"dog/dog_a.txt": TRACK})
    with pytest.raises(ManifestError, match="cannot tell whether its sub-folders hold the labels, or the 2 annotation"):
        read(tmp_path)
    assert stretches(read(tmp_path, source=tmp_path))["dog/dog_a.wav"] == FOUND
    written(tmp_path, {"dog/dog_b.txt": TRACK, "dog/dog_c.txt": TRACK})
    assert "dog/dog_b.wav" in stretches(read(tmp_path))


def test_a_table_of_class_folders_is_listed_and_a_manifest_is_none(tmp_path: Path) -> None:
    with_recordings(tmp_path, "cat/a.wav", "dog/b.wav")
    written(tmp_path, {"all.csv": "recording,start_s,end_s,label\ncat/a.wav,0,1,purr\n", "README.md": "Cats.",
                       "manifest.csv": "path,label,group\ncat/a.wav,cat,cat/a.wav\n"})  # fmt: skip
    report = Report()
    assert read(tmp_path, report) is None
    assert [Path(p.file).name for p in report.problems] == ["all.csv"]
    assert stretches(read(tmp_path, source=tmp_path / "all.csv")) == {"cat/a.wav": [(0.0, 1.0, "purr")]}


def test_texts_next_to_recordings_that_are_no_annotations_are_listed_with_the_reason(tmp_path: Path) -> None:
    with_recordings(tmp_path, "r1.wav", "r2.wav")
    written(tmp_path, {"r1.txt": TRACK, "r2.txt": "Windy.\n", "r3.txt": TRACK, "README.txt": "See the paper.\n"})
    report = Report()
    assert list(stretches(read(tmp_path, report))) == ["r1.wav"]
    assert {(Path(p.file).name, p.outcome, p.problem[:25]) for p in report.problems} == {
        ("r2.txt", "not used", "is not an annotation file"), ("r3.txt", "not used", "names no recording below "),
    }  # fmt: skip
    (tmp_path / "r1.txt").unlink()
    with pytest.raises(ManifestError, match=r"r1\.wav is not in a class folder and has no annot.*; r3\.txt: names no"):
        read(tmp_path)


def test_a_given_folder_or_table_without_annotations_is_refused(tmp_path: Path) -> None:
    with_recordings(tmp_path / "sounds", "r1.wav")
    notes = written(tmp_path / "notes", {"r1.txt": "Windy.\n", "doc.pdf": "%PDF-1.4"})
    with pytest.raises(ManifestError, match=r"notes: no annotation file belongs to a .*r1\.txt: is not an annot"):
        read(tmp_path / "sounds", source=notes)
    with pytest.raises(ManifestError, match=r"doc\.pdf: is a PDF, not a table; copy its table"):
        read(tmp_path / "sounds", source=notes / "doc.pdf")


def test_the_label_column_without_a_column_is_refused(tmp_path: Path) -> None:
    with_recordings(tmp_path, "r1.wav")
    written(tmp_path, {"r1.txt": TRACK})
    with pytest.raises(ConfigError, match="--label-column: has no effect, as no annotation file has columns"):
        read(tmp_path, label_column="Species")


# The whole way


def made(source: Path, out: Path, **options: object) -> InitResult:
    wanted: dict[str, object] = dict.fromkeys(("name", "preset", "group_by", "root", "background"))
    wanted |= {"allow_outside": False, "force": False, "jobs": 1, "progress": Progress()} | options
    return init.run(source, out=out, **wanted)  # type: ignore[arg-type]


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """Three recordings of 2 s."""
    folder = tmp_path / "calls"
    folder.mkdir()
    for number in range(3):
        soundfile.write(folder / f"r{number}.wav", sounds.noise(2.0, RATE, seed=number), RATE)
    return folder


def test_init_leaves_out_rows_cuts_at_the_end_and_its_sums_add_up(calls: Path, tmp_path: Path) -> None:
    written(calls, {"r0.txt": "-0.01\t0.5\towl\n1\t1.5\t\n1.6\t1.8\t-owl\n1\t7\twren\n", "r1.TextGrid": SHORT,
                    "r2.selections.txt": RAVEN + "\n"})  # fmt: skip
    result = made(calls, tmp_path)
    assert [(c.label, c.n_recordings, pytest.approx(c.total_s)) for c in result.survey.classes] == [
        ("owl", 2, 0.5 + 0.5), ("wren", 1, 1.0),
    ]  # fmt: skip
    assert result.annotated is not None
    assert result.annotated.empty == ["r2.wav"]
    assert result.problems is not None
    rows = csv.DictReader(io.StringIO(result.problems.read_text(encoding="utf-8")))
    assert [(Path(row["file"]).name, row["line"], row["outcome"]) for row in rows] == [
        ("r0.txt", "1", "start taken as 0"), ("r0.txt", "2", "left out"), ("r0.txt", "3", "left out"),
        ("r0.txt", "4", "cut at the end of the recording"), ("r1.TextGrid", "7", "left out"),
    ]  # fmt: skip
    with pytest.raises(ManifestError, match=r"r0\.txt: line 1: start is below 0 \(2 more like this\); correct it"):
        made(calls, tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict").exists()


def test_folders_of_a_split_are_the_split_of_annotated_recordings_too(calls: Path, tmp_path: Path) -> None:
    for part, name in (("train", "r0.wav"), ("train", "r1.wav"), ("test", "r2.wav")):
        (calls / part).mkdir(exist_ok=True)
        (calls / name).rename(calls / part / name)
        written(calls, {f"{part}/{name}".replace(".wav", ".txt"): "" if name == "r1.wav" else "0\t1\towl\n"})
    result = made(calls, tmp_path, background="rest")
    found = {(r.path, r.label, r.split) for r in manifest.read(result.manifest, root=calls)}
    assert found >= {
        ("train/r0.wav", "owl", "train"),
        ("test/r2.wav", "owl", "test"),
        ("train/r1.wav", "rest", "train"),
    }
    assert {split for path, _, split in found if path.startswith("train")} == {"train"}
    assert result.report.notes == [
        "The split is taken from the folders of level 1: 'test' is test, 'train' is train.",
        "There is no validation part: it is taken from train, by group (split.validation).",
    ]


def test_annotations_for_a_csv_are_refused(calls: Path, tmp_path: Path) -> None:
    table = written(tmp_path, {"list.csv": "path,label\nr0.wav,owl\nr1.wav,wren\n"}) / "list.csv"
    with pytest.raises(ConfigError, match=r"--annotations .*: has no effect on .*list\.csv, which is no folder"):
        made(table, tmp_path / "out", root=calls, annotations=calls)
