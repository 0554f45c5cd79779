"""Tables that spreadsheets and other programs saved, given to `init`: read, or refused with what to do instead."""

import csv
import io
import struct
import zipfile
from pathlib import Path

import pytest
import soundfile
import sounds

from audiocnn.dataset import foreign_files, manifest, text_encoding
from audiocnn.dataset.manifest import Columns, Recording
from audiocnn.dataset.problems import Report
from audiocnn.errors import ConfigError, ManifestError
from audiocnn.progress import Progress
from audiocnn.stages import init
from audiocnn.stages.init import InitResult

CELLS = [(f"{label}/{take}.wav", label) for label in ("owl", "wren") for take in "ab"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings of 1 s each of owl and wren."""
    folder = tmp_path_factory.mktemp("sounds")
    for number, (path, _) in enumerate(CELLS):
        (folder / path).parent.mkdir(exist_ok=True)
        soundfile.write(folder / path, sounds.noise(1.0, 8000, seed=number), 8000)
    return folder


def written(folder: Path, content: str | bytes, name: str = "list.csv") -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def made(source: Path, out: Path, **options: object) -> InitResult:
    wanted: dict[str, object] = dict.fromkeys(("name", "preset", "group_by", "root", "background"))
    wanted |= {"allow_outside": False, "force": False, "jobs": 1, "progress": Progress()} | options
    return init.run(source, out=out, **wanted)  # type: ignore[arg-type]


def table(separator: str = ",", header: str = "path,label", end: str = "\n") -> str:
    return end.join(separator.join(row) for row in (header.split(","), *CELLS)) + end


PLAIN = [(path, label) for path, label in CELLS]


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (table(";", end="\r\n"), "is separated by semicolons."),
        (table("\t"), "is separated by tabs."),
        ("sep=;\r\n" + table(";"), "is separated by semicolons."),
        ("\ufeff" + table(), ""),
        ("\n\n" + table() + ",\n,\n", ""),
        (table("\t", end="\r\n").encode("utf-16"), "is separated by tabs. is read as UTF-16."),
        (table().encode("utf-16-le"), "is read as UTF-16."),
        (table().encode("utf-16-be"), "is read as UTF-16."),
        (table().replace("/", "\\"), ""),
        (table().replace("/", "\\\\"), ""),
        (table(";").replace("owl/a.wav;", '"owl/a.wav";'), "is separated by semicolons."),
    ],
)
def test_a_table_is_read_whatever_program_saved_it(content: str | bytes, note: str, root: Path, tmp_path: Path) -> None:
    report = Report()
    file = written(tmp_path, content)
    found = manifest.read(file, root=root, report=report)
    assert [(r.path, r.label) for r in found] == PLAIN
    assert report.notes == ([f"{file}: {note}"] if note else [])
    assert report.problems == []


@pytest.mark.parametrize(
    ("labels", "codec", "name"),
    [
        ("Käuzchen, Mönchsgrasmücke", "cp1252", "Windows-1252"),
        ("mésange, forêt, hérisson’s", "cp1252", "Windows-1252"),
        ("kočka, tučňák, řeka", "cp1250", "Windows-1250"),
        ("żaba, słowik, gęś", "cp1250", "Windows-1250"),
        ("сова, медведь", "cp1251", "Windows-1251"),
        ("γάτα, σκύλος", "cp1253", "Windows-1253"),
        ("Käuzchen, Mönchsgrasmücke", "mac_roman", "Mac Roman"),
        ("Käuzchen, Mönchsgrasmücke", "cp850", "DOS code page 850"),
    ],
)
def test_the_code_page_is_told_by_the_letters_and_reported_with_an_example(labels: str, codec: str, name: str) -> None:
    decoded = text_encoding.decode(labels.encode(codec))
    assert (decoded.text, decoded.encoding) == (labels, name)
    example = next(word for word in labels.split(", ") if not word.isascii())
    assert decoded.note.startswith(f"is not UTF-8; it is read as {name} (such as '{example}'). If that is wrong")


def test_bytes_of_no_encoding_are_still_read_and_reported() -> None:
    decoded = text_encoding.decode(b"path,label\na,\x81\x8d\n")
    assert decoded.text.startswith("path,label\na,")
    assert not decoded.certain


def test_columns_of_other_names_are_used_and_none_of_the_usual_names_beside_them(root: Path, tmp_path: Path) -> None:
    text = "file,label,class,place,part,k\n" + "".join(
        f"{path},{number},{label},P{number},{part},{number}.0\n"
        for number, ((path, label), part) in enumerate(zip(CELLS, ("train", "val", "Test", "testing"), strict=True))
    )
    columns = Columns(path="file", label="Class", group="place", split="part", fold="k")
    found = manifest.read(written(tmp_path, text), root=root, columns=columns)
    parts = ("train", "validation", "test", "test")
    assert found == [
        Recording(path, label, f"P{n}", split=part, fold=n)
        for n, ((path, label), part) in enumerate(zip(CELLS, parts, strict=True))
    ]


@pytest.mark.parametrize("fold", ["1.5", "-1", "1.0.0", "1e3"])
def test_a_fold_is_a_whole_number_also_as_a_float(fold: str, root: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=f"line 2: fold '{fold}' is not a whole number"):
        manifest.read(written(tmp_path, f"path,label,fold\nowl/a.wav,owl,{fold}\n"), root=root)


@pytest.mark.parametrize("name", ["path", "label", "group", "split", "fold"])
def test_an_option_for_a_column_that_is_not_there_is_refused_with_the_nearest(
    name: str, root: Path, tmp_path: Path
) -> None:
    file = written(tmp_path, "path,label,place\nowl/a.wav,owl,x\n")
    with pytest.raises(ConfigError) as refused:
        made(file, tmp_path / "out", root=root, columns=Columns(**{name: "plaice"}))
    assert f"has no column 'plaice'; did you mean 'place'? It has: path, label, place; correct --{name}-column" in str(
        refused.value
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["path", "group", "split", "fold"])
def test_a_column_option_on_a_folder_is_refused(name: str, root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"--{name}-column: has no effect on a folder"):
        made(root, tmp_path / "out", columns=Columns(**{name: "x"}))


def test_other_options_without_effect_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--root .*: has no effect on a folder"):
        made(root, tmp_path / "out", root=tmp_path)
    file = written(tmp_path, table(header="path,label") + "")
    with pytest.raises(ConfigError, match="--group-by and --group-column: both set the group"):
        made(file, tmp_path / "out", root=root, group_by="x", columns=Columns(group="label"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("filename,category,fold", "no columns 'path' and 'label'; found: filename, category, fold; pass --path-column "
         "filename --label-column category to init, or rename them"),
        ("slice_file_name,classID,class", "--path-column slice_file_name --label-column class to init"),
        ("paths,LABEL", "pass --path-column paths --label-column LABEL to init"),
        ("file name,label", "no column 'path'; found: file name, label; pass --path-column NAME to init, or rename it"),
        ("path,my class", "no column 'label'; found: path, my class; pass --label-column NAME to init"),
    ],
)  # fmt: skip
def test_a_table_without_the_usual_columns_names_the_options(
    header: str, says: str, root: Path, tmp_path: Path
) -> None:
    with pytest.raises(ManifestError) as refused:
        manifest.read(written(tmp_path, f"{header}\nowl/a.wav,owl\n"), root=root)
    assert says in str(refused.value)


def archive(*names: str, first: bytes = b"") -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        if first:
            file.writestr("mimetype", first)
        for name in names:
            file.writestr(zipfile.ZipInfo(name), "x")  # which has no time
    return data.getvalue()


def wav() -> bytes:
    data = io.BytesIO()
    soundfile.write(data, sounds.noise(0.1, 8000), 8000, format="WAV")
    return data.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive("a.csv"), "is a ZIP archive, not a table; unpack it"),
        (archive("[Content_Types].xml", "xl/workbook.xml"), "is an Excel workbook, not a table; open it and save the"),
        (archive("content.xml", first=b"application/vnd.oasis.opendocument.spreadsheet"), "is an OpenDocument spread"),
        (archive("word/document.xml"), "is a Word document, not a table"),
        (archive("a.csv")[:40], "is a ZIP archive, not a table"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "is an Excel or Office file, not a table; open it and save"),
        (b"%PDF-1.4\n...", "is a PDF, not a table; copy its table into a spreadsheet"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "is a PNG image, not a table; pass the folder that holds the recordings"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "is a JPEG image, not a table"),
        (
            wav(),
            "is a sound (WAV), not a table; pass the folder that holds the recordings, or a CSV that lists them; to c",
        ),
        (bytes(4) + b"ftypM4A " + bytes(40), "is a sound (MP4 (M4A, AAC, ALAC)), not a table"),
        (b"\x1f\x8b\x08" + bytes(20), "is a gzip archive, not a table; unpack it"),
        (b"PAR1" + bytes(20), "is a Parquet file, not a table; write its table as CSV"),
        (b"<!DOCTYPE html><html>", "is a web page (HTML), not a table; download the file itself"),
        (b'{"path": "a.wav"}', "is a JSON file, not a table; write its table as CSV"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a git-lfs pointer, not the file itself"),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",
)
def test_a_file_that_is_no_table_says_what_it_is_and_what_to_do(content: bytes, message: str, tmp_path: Path) -> None:
    file = written(tmp_path, content)
    with pytest.raises(ManifestError) as refused:
        made(file, tmp_path / "out")
    assert str(refused.value).startswith(f"{file}: {message}")
    assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_text_is_never_taken_for_another_kind_of_file() -> None:
    for text in ("path,label\n", "Path;Label", "\ufeffpath\tlabel", "RIFFs,label\n", "MM,x\n"):
        for codec in ("utf-8", "utf-16"):
            assert foreign_files.describe(text.encode(codec)) is None


@pytest.mark.parametrize(("separator", "comma"), [(";", ","), (",", ".")])
def test_a_manifest_that_excel_saved_anew_reads_as_before(
    separator: str, comma: str, root: Path, tmp_path: Path
) -> None:
    recordings = [
        Recording(path, f"Käuzchen {label}", "7", 0.25, 0.5, split="train", fold=2, sha256="ab" * 32)
        for path, label in CELLS
    ]
    rows = list(csv.reader(io.StringIO(manifest.to_csv(recordings))))
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=separator, lineterminator="\r\n")
    writer.writerow(rows[0] + ["", ""])
    for row in rows[1:]:
        cells = [cell.replace(".", comma) if 3 <= index <= 4 else cell for index, cell in enumerate(row)]
        writer.writerow([*cells, "", ""])
    writer.writerow([""] * (len(rows[0]) + 2))
    for codec in ("cp1252", "utf-8-sig"):
        assert manifest.read(written(tmp_path, out.getvalue().encode(codec)), root=root) == recordings


# Rows that cannot be used


ROWS = """path,label,start_s,end_s
owl/a.wav,owl,-0.02,0.5
owl/a.wav,,0.6,0.7
owl/b.wav,-owl,0,0.5
owl/b.wav,owl,0.1,0.4
wren/a.wav,wren,0,0.5
wren/b.wav,wren,-7,0.5
wren/b.wav,wren,x,0.5
wren/b.wav,wren,0.5,0.2
wren/b.wav,wren,0.2,0.5
,wren,0.2,0.5
"""


def test_rows_that_cannot_be_used_are_left_out_and_listed(root: Path, tmp_path: Path) -> None:
    file = written(tmp_path, ROWS)
    result = made(file, tmp_path, root=root)
    assert [(r.path, r.start_s) for r in manifest.read(result.manifest, root=root)] == [
        ("owl/a.wav", 0), ("owl/b.wav", 0.1), ("wren/a.wav", 0), ("wren/b.wav", 0.2),
    ]  # fmt: skip
    assert result.problems == tmp_path / "init-problems.csv"
    rows = list(csv.DictReader(io.StringIO(result.problems.read_text(encoding="utf-8"))))
    assert [(row["line"], row["outcome"]) for row in rows] == [
        ("2", "start taken as 0"), *((str(line), "left out") for line in (3, 4, 7, 8, 9, 11)),
    ]  # fmt: skip
    assert {row["file"] for row in rows} == {str(file)}
    assert rows[1]["problem"] == "owl/a.wav: label is empty; name it"
    assert rows[2]["value"] == "'-owl"  # never a formula
    assert result.survey.n_stretches == 4
    assert sum(c.total_s for c in result.survey.classes) == pytest.approx(0.5 + 0.3 + 0.5 + 0.3)


def test_strict_refuses_what_would_be_left_out_and_writes_nothing(root: Path, tmp_path: Path) -> None:
    file = written(tmp_path, ROWS)
    with pytest.raises(ManifestError) as refused:
        made(file, tmp_path / "out", root=root, strict=True)
    assert str(refused.value).startswith(f"{file}: line 2: start_s is below 0 (6 more like this); correct it, or run")
    assert not (tmp_path / "out").exists()


def test_a_table_of_unusable_rows_names_the_first_and_other_commands_stay_strict(root: Path, tmp_path: Path) -> None:
    file = written(tmp_path, "path,label\nowl/a.wav,\nowl/b.wav,=x\n")
    with pytest.raises(ManifestError, match=r"lists no recordings that can be used; .*: line 2: owl/a.wav: label is"):
        made(file, tmp_path / "out", root=root)
    with pytest.raises(ManifestError, match=r"line 2: owl/a.wav: label is empty; name it"):
        manifest.read(file, root=root)


@pytest.mark.slow
def test_the_list_of_problems_of_an_earlier_run_is_removed(root: Path, tmp_path: Path) -> None:
    assert made(written(tmp_path, ROWS), tmp_path, root=root).problems is not None
    result = made(written(tmp_path, table()), tmp_path, root=root, force=True)
    assert result.problems is None
    assert not (tmp_path / "init-problems.csv").exists()


STRETCHES = """path,label,start_s,end_s
owl/a.wav,owl,0.2,0.6
owl/b.wav,owl,0.75,9
wren/a.wav,wren,0.5,1.03
wren/b.wav,wren,2,3
"""


def test_stretches_are_held_against_the_durations_and_the_sums_add_up(root: Path, tmp_path: Path) -> None:
    file = written(tmp_path, STRETCHES)
    result = made(file, tmp_path, root=root)
    rows = manifest.read(result.manifest, root=root)
    assert [(r.path, r.stretch) for r in rows] == [
        ("owl/a.wav", (0.2, 0.6)), ("owl/b.wav", (0.75, 1.0)), ("wren/a.wav", (0.5, 1.03)),
    ]  # fmt: skip
    assert [(c.label, c.n_recordings, c.total_s) for c in result.survey.classes] == [
        ("owl", 2, pytest.approx(0.4 + 0.25)), ("wren", 1, pytest.approx(0.5)),
    ]  # fmt: skip
    assert [str(problem) for problem in result.report.problems] == [
        f"{file}: line 3: owl/b.wav: 'owl' from 0.75 to 9 s ends after the end of the recording (1.00 s)",
        f"{file}: line 5: wren/b.wav: 'wren' from 2 to 3 s begins after the end of the recording (1.00 s); "
        "correct the times",
    ]


def test_a_label_that_only_lies_beyond_the_end_is_no_class(root: Path, tmp_path: Path) -> None:
    file = written(tmp_path, STRETCHES.replace("wren,0.5,1.03", "wren,1.5,1.7"))
    with pytest.raises(ConfigError, match=r"only one class \('owl'\)"):
        made(file, tmp_path / "out", root=root)
    assert not (tmp_path / "out").exists()


def test_a_size_that_only_a_table_declares_is_not_needed_to_name_it() -> None:
    assert foreign_files.describe(b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt ") is not None
