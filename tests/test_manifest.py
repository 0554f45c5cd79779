"""The manifest: reading it, refusing faults with clear messages, and writing it without loss."""

import io
import os

import numpy as np
import pytest
import soundfile

from audiocnn.dataset import class_folders, manifest
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import ConfigError, ManifestError
from audiocnn.text import encode_path


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "sounds"
    folder.mkdir()
    return folder


def sound(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    data = io.BytesIO()
    soundfile.write(data, np.zeros(100), 8000, format="WAV")
    file.write_bytes(data.getvalue())  # soundfile itself does not take every name


def read(root, text, **options):
    file = root.parent / "list.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return manifest.read(file, root=root, **options)


def refusal(root, text, **options):
    """The message, less the file that it begins with."""
    with pytest.raises(ManifestError) as refused:
        read(root, text, **options)
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith(f"{root.parent / 'list.csv'}: ")
    return message.removeprefix(f"{root.parent / 'list.csv'}: ")


# ---------------------------------------------------------------------------------------------------------- folders


def test_a_folder_of_class_folders_gives_one_group_a_recording(root):
    for name in ("drone/a.wav", "drone/deep/b.wav", "bird/c.wav"):
        sound(root / name)
    (root / "drone" / "notes.txt").write_text("no audio")
    found = class_folders.read(root)
    assert [(r.path, r.label, r.group) for r in found] == [
        ("bird/c.wav", "bird", "bird/c.wav"),
        ("drone/a.wav", "drone", "drone/a.wav"),
        ("drone/deep/b.wav", "drone", "drone/deep/b.wav"),
    ]
    assert all(r.file(root).is_file() for r in found)
    assert manifest.labels_of(found).names == ("bird", "drone")


def test_a_folder_without_audio_is_refused(root):
    (root / "notes.txt").write_text("no audio")
    with pytest.raises(ManifestError, match=r"no audio found .* one sub-folder per class"):
        class_folders.read(root)


def test_audio_outside_class_folders_is_refused_and_counted(root):
    for name in ("drone/a.wav", "loose.wav", "more.wav"):
        sound(root / name)
    with pytest.raises(ManifestError, match=r"loose\.wav and 1 more not in a class.*manifest\.csv --root"):
        class_folders.read(root)


@pytest.mark.parametrize("name", ["=cmd", "+1", "-x", "@sum"])
def test_a_class_folder_whose_name_is_a_formula_is_refused(root, name):
    sound(root / name / "a.wav")
    with pytest.raises(ManifestError, match=rf"label '\{name}' begins with = \+ - or @; rename it"):
        class_folders.read(root)


@pytest.mark.parametrize("name", [" =cmd", "a\x1b[31m", "a\nb", " ", "caf\udce9"])
def test_a_class_folder_of_any_other_name_gives_a_harmless_label_that_stays_what_it_is(root, name):
    sound(root / name / "a.wav")
    (found,) = class_folders.read(root)
    assert found.label.isprintable()
    assert found.label == found.label.strip()
    assert found.label[0] not in "=+-@"
    assert read(root, manifest.to_csv([found])) == [found]


def test_a_class_folder_whose_name_reads_backwards_is_refused(root):
    sound(root / "\u202egpj" / "a.wav")
    with pytest.raises(ManifestError, match=r"label '\\u202egpj' contains a control code; rename it"):
        class_folders.read(root)


AWKWARD = [
    "café/ñandú 🎻.wav",
    "a/-dash.wav",
    "a/=1+1.wav",
    "a/two\nlines.wav",
    "a/tab\tand\rreturn.wav",
    "a/ spaces around .wav ",
    'a/"quoted", with comma.wav',
    "a/back\\slash.wav",
    "a/back\\x41.wav",
    "a/not utf-8 \udce9\udcff.wav",
    "a/esc\x1b[31m.wav",
]


@pytest.mark.parametrize("name", AWKWARD)
def test_any_legal_file_name_survives_being_listed_written_and_read(root, name):
    sound(root / name)
    listed = class_folders.read(root)
    file = root.parent / "manifest.csv"
    manifest.write(file, listed)
    assert manifest.read(file, root=root) == listed
    assert os.fspath(listed[0].file(root)) == os.path.join(root, name)
    assert listed[0].file(root).is_file()


# --------------------------------------------------------------------------------------------------- reading of CSV


def test_path_and_label_suffice_and_each_recording_is_then_its_own_group(root):
    assert read(root, "path,label\na.wav,x\nb/c.wav,y\n") == [
        Recording("a.wav", "x", "a.wav"),
        Recording("b/c.wav", "y", "b/c.wav"),
    ]


def test_all_columns_are_read_in_any_order_and_others_are_the_users_own(root):
    text = f"notes,fold,sha256,split,group,label,path\nhi,3,{'AB' * 32},test,S1,x,a.wav\n"
    assert read(root, text) == [Recording("a.wav", "x", "S1", split="test", fold=3, sha256="ab" * 32)]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffpath,label,group\na.wav,x,g\nb.wav,y,g\n",
        "path,label,group\r\na.wav,x,g\r\nb.wav,y,g\r\n",
        "path , label,group\na.wav, x ,g \n\nb.wav,y,g\n\n",
        "path,label,group,,\na.wav,x,g,,\nb.wav,y,g,,\n",
        "path,label,group\na.wav,x,g,,\nb.wav,y,g\n",
        '"path","label","group"\n"a.wav","x","g"\n"b.wav","y","g"\n',
        "path,label,group\n./a.wav,x,g\n.//b.wav,y,g",
    ],
    ids=["BOM", "CRLF", "spaces and blank lines", "empty columns", "empty cells", "quotes", "spelling of paths"],
)
def test_what_spreadsheets_and_people_write_is_read_alike(root, text):
    assert read(root, text) == [Recording("a.wav", "x", "g"), Recording("b.wav", "y", "g")]


def test_a_group_left_empty_is_the_recording_itself(root):
    assert [r.group for r in read(root, "path,label,group\na.wav,x,\nb.wav,x,S\nc.wav,x\n")] == ["a.wav", "S", "c.wav"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no columns 'path' and 'label'; found: nothing"),
        ("file,label\na,b\n", "has no column 'path'; found: file, label"),
        ("Path,label\na,b\n", "has no column 'path'; found: Path, label; pass --path-column Path to init"),
        ("path,labels\na,b\n", "has no column 'label'; found: path, labels; pass --label-column labels to init"),
        ("path,label\n", "lists no recordings"),
        ("path,label,path\na,b,c\n", "column 'path' is given twice"),
        ("path,label,Groups\na,b,c\n", "column 'Groups' is not recognized; rename it to 'group'"),
        ("path,label,start_s\na,b,0\n", "start_s and end_s go together; add the other column"),
        ("path,label,end_s\na,b,0\n", "start_s and end_s go together; add the other column"),
        ("path,label\na.wav,x\n,y\n", "line 3: path is empty"),
        ("path,label\na.wav,x\n  ,y\n", "line 3: path is empty"),
        ("path,label\na.wav,x\nb.wav,\n", "line 3: b.wav: label is empty"),
        ("path,label\na.wav,x\nb.wav\n", "line 3: b.wav: label is empty"),
        ("path,label\na.wav,=1+1\n", "line 2: a.wav: label '=1+1' begins with = + - or @; rename it"),
        ("path,label\na.wav, @x\n", "line 2: a.wav: label '@x' begins with"),
        ('path,label\na.wav,"x\ny"\n', "line 3: a.wav: label 'x\\x0ay' contains a control code; rename it"),
        ("path,label\na.wav,x\na.wav,y\n", "line 3: a.wav is also on line 2"),
        ("path,label\na.wav,x\n./a.wav,y\n", "line 3: a.wav is also on line 2"),
        ("path,label,split\na.wav,x,trian\n", "line 2: split 'trian' is unknown; did you mean 'train'?"),
        ("path,label,split\na.wav,x,7\n", "line 2: split '7' is unknown; it is one of train, validation, test"),
        (
            "path,label,split\na.wav,x,test\nb.wav,x,\nc.wav,x,\n",
            "split is empty for b.wav and 1 more; give it for all",
        ),
        ("path,label,fold\na.wav,x,1.5\n", "line 2: fold '1.5' is not a whole number"),
        ("path,label,fold\na.wav,x,-1\n", "line 2: fold '-1' is not a whole number"),
        ("path,label,sha256\na.wav,x,abc\n", "line 2: sha256 'abc' is not 64 hexadecimal digits"),
        ("path,label\na,b.wav,x\n", "line 2: more cells than columns; put a path with a comma into double quotes"),
        ('path,label\na.wav,x\nb.wav,"y\nc.wav,z\n', "line 4: unexpected end of data"),
        ("path,label\n" + "a" * 200_000 + ",x\n", "line 2: field larger than field limit (131072)"),
        ("a" * 200_000 + ",path,label\n", "line 1: field larger than field limit (131072)"),
        (
            "path,label\na\x00.wav,x\n",
            "line 2: a\\x00.wav contains a zero byte, which a path cannot contain; correct it",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_line_and_the_remedy(root, text, message):
    assert refusal(root, text).startswith(message)


def test_a_missing_file_and_a_folder_are_refused_by_name(root):
    with pytest.raises(ManifestError, match=r"gone\.csv: no such file$"):
        manifest.read(root / "gone.csv", root=root)
    with pytest.raises(ManifestError, match="sounds: cannot be read"):
        manifest.read(root, root=root)


# ---------------------------------------------------------------------------------------------------- paths and root


@pytest.mark.parametrize("path", ["../other.wav", "x/../../other.wav", "/etc/passwd", "link/other.wav", "link", "loop"])
def test_a_path_that_leads_out_of_the_root_is_refused_unless_that_is_meant(root, path):
    (root.parent / "elsewhere").mkdir()
    (root / "link").symlink_to(root.parent / "elsewhere")
    (root / "loop").symlink_to(root.parent / "loop2")
    (root.parent / "loop2").symlink_to(root / "loop")
    text = f"path,label\nfine.wav,x\n{path},x\n"
    if path != "loop":  # its target is undefined; only reading it fails
        assert refusal(root, text).startswith(f"line 3: {path} is outside {root}; move it, or pass --allow-outside")
    recordings = read(root, text, allow_outside=True)
    assert [os.path.realpath(r.file(root)) for r in recordings] == [
        os.path.realpath(root / name) for name in ("fine.wav", path)
    ]


def test_a_path_that_leads_out_and_in_again_is_inside(root):
    assert read(root, "path,label\n../sounds/a.wav,x\n")[0].file(root).resolve() == (root / "a.wav").resolve()


def test_a_link_within_the_root_is_inside(root):
    sound(root / "real" / "a.wav")
    (root / "alias").symlink_to(root / "real")
    assert read(root, "path,label\nalias/a.wav,x\n")[0].path == "alias/a.wav"


def test_an_absolute_path_below_the_root_becomes_relative(root):
    assert read(root, f"path,label\n{root}/b/a.wav,x\n") == [Recording("b/a.wav", "x", "b/a.wav")]


def test_an_absolute_path_is_seen_from_the_root_however_either_is_reached(root):
    sound(root / "b" / "a.wav")
    alias = root.parent / "deep" / "er" / "alias"
    alias.parent.mkdir(parents=True)
    alias.symlink_to(root)
    for given_root, given_path in ((alias, f"{root}/b/a.wav"), (root, f"{alias}/b/a.wav"), (alias, f"{alias}/b/a.wav")):
        file = root.parent / "list.csv"
        file.write_text(f"path,label\n{given_path},x\n", encoding="utf-8")
        (found,) = manifest.read(file, root=given_root)
        assert found.path == "b/a.wav"


def test_the_same_file_named_absolutely_and_relatively_is_one_recording(root):
    assert "is also on line 2" in refusal(root, f"path,label\na.wav,x\n{root}/a.wav,x\n")


# ----------------------------------------------------------------------------------------------------------- writing


def test_reading_what_was_written_gives_the_same_recordings(root):
    recordings = [
        Recording(encode_path(name), label, group or encode_path(name), split=split, fold=fold, sha256=sha256)
        for name, label, group, split, fold, sha256 in [
            ("a, b.wav", "café", "it's", "train", 0, "0" * 64),
            ("b\nc.wav", 'the "x"', None, "test", None, None),
            ("-d.wav", "y\\z", "S 1", "validation", 12, "f" * 64),
            ("e \udc80.wav", "'=x", None, "train", None, None),
        ]
    ]
    file = root.parent / "manifest.csv"
    manifest.write(file, recordings)
    assert manifest.read(file, root=root) == recordings


STRETCHES = "path,label,start_s,end_s,group\n"


def test_stretches_of_a_file_are_read_and_written_back_to_the_last_digit(root):
    recordings = [
        Recording("a.wav", "x", "S1", 0.1 + 0.2, 1 / 3, sha256="ab" * 32),
        Recording("a.wav", "y", "S1", 1 / 3, 1e-7 + 2, sha256="ab" * 32),  # begins where another one ends
        Recording("a.wav", "x", "S1", 5.0, 5.0, sha256="ab" * 32),
        Recording("b.wav", "y", "b.wav"),
    ]
    manifest.write(root.parent / "manifest.csv", recordings)
    text = (root.parent / "manifest.csv").read_text()
    assert text.splitlines()[0] == "path,label,group,start_s,end_s,sha256"
    assert read(root, text) == recordings
    assert [r.stretch for r in recordings] == [(0.1 + 0.2, 1 / 3), (1 / 3, 1e-7 + 2), (5, 5), None]
    assert sorted([recordings[i] for i in (3, 2, 0, 1)], key=lambda r: r.order) == recordings


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("a,x,1,\n", "line 2: start_s and end_s go together; give both, or neither for the whole file"),
        ("a,x,,1\n", "line 2: start_s and end_s go together; give both"),
        ("a,x,2,1.5\n", "line 2: end_s 1.5 is before start_s 2"),
        ("a,x,-1,2\n", "line 2: start_s '-1' is not a number of seconds of at least 0"),
        ("a,x,0,inf\n", "line 2: end_s 'inf' is not a number of seconds of at least 0"),
        ("a,x,nan,1\n", "line 2: start_s 'nan' is not a number of seconds of at least 0"),
        ("a,x,0,1 s\n", "line 2: end_s '1 s' is not a number of seconds of at least 0"),
        (
            "a,x,0,2\nb,y,0,9\na,y,1.5,4\n",
            "line 4: a is 'y' from 1.5 to 4 s, which overlaps 'x' from 0 to 2 s on line 2; shorten one of them",
        ),
        ("a,x,0,9\na,y,2,3\n", "line 3: a is 'y' from 2 to 3 s, which overlaps 'x' from 0 to 9 s on line 2"),
        ("a,x,0,1,g\na,x,2,3,h\n", "line 3: group of a differs from line 2; all rows of a file need the same one"),
        ("a,x,0,1,g\na,x,2,3\n", "line 3: group of a differs from line 2; all rows of a file need the same one"),
        ("a,x,0,1\na,x\n", "line 3: a is also on line 2; only stretches, with start_s and end_s, may repeat a file"),
        ("a,x\na,y,0,1\n", "line 3: a is also on line 2; only stretches, with start_s and end_s, may repeat a file"),
        ("a,x,0,1\na,y,0,1\n", "line 3: a is also on line 2"),
    ],
)
def test_stretches_that_cannot_be_are_refused_with_their_line(root, rows, expected):
    assert refusal(root, STRETCHES + rows).startswith(expected)


@pytest.mark.parametrize("name", ["split", "fold", "sha256"])
def test_columns_of_a_file_are_equal_for_all_of_its_stretches(root, name):
    one, other = {"split": ("train", "test"), "fold": ("1", "2"), "sha256": ("ab" * 32, "cd" * 32)}[name]
    text = f"path,label,start_s,end_s,{name}\na,x,0,1,{one}\na,x,2,3,{other}\n"
    assert refusal(root, text) == f"line 3: {name} of a differs from line 2; all rows of a file need the same one"


def test_overlapping_stretches_of_one_label_are_as_good_as_others(root):
    assert len(read(root, STRETCHES + "a,x,0,2\na,x,1,3\na,y,3,4\nb,y,0,3\n")) == 4


def test_optional_columns_are_written_only_where_there_is_something_to_say():
    plain = Recording("a.wav", "x", "a.wav")
    assert manifest.to_csv([plain]) == "path,label,group\na.wav,x,a.wav\n"
    assert manifest.to_csv([plain, Recording("b.wav", "x", "g", fold=2)]).startswith(
        "path,label,group,fold\na.wav,x,a.wav,\n"
    )


@pytest.mark.parametrize("group", ["=1+1", "-bebop", "@x", "tab\there", "  =x "])
def test_no_group_is_a_formula_or_holds_control_codes_and_it_stays_what_it_is(root, group):
    (first,) = read(root, f'path,label,group\na.wav,x,"{group}"\n')
    assert not first.group.startswith(("=", "+", "-", "@"))
    assert first.group.isprintable()
    assert read(root, manifest.to_csv([first])) == [first]
    (captured,), _ = manifest.group_by([Recording(f"{group.strip()}.wav", "x", "g")], r"(.*)\.wav")
    assert read(root, manifest.to_csv([captured]))[0].group == captured.group


# ------------------------------------------------------------------------------------------------------------ groups


def grouped(pattern, *paths):
    recordings, unmatched = manifest.group_by([Recording(path, "x", "before") for path in paths], pattern)
    return [r.group for r in recordings], unmatched


def test_a_group_is_what_the_first_capture_group_finds():
    assert grouped(r"/(S\d+)_(D\d+)", "x/S2_D1.wav", "x/S3_D1.wav") == (["S2", "S3"], 0)


def test_without_a_capture_group_a_group_is_the_whole_match():
    assert grouped(r"S\d+", "x/S2_D1.wav") == (["S2"], 0)


def test_the_capture_group_that_matched_sets_the_group():
    assert grouped(r"(mic\d)|(room\d)", "mic1-a.wav", "room2-a.wav") == (["mic1", "room2"], 0)


def test_what_does_not_match_keeps_its_group_and_is_counted():
    assert grouped(r"S\d", "S1.wav", "T1.wav", "U1.wav") == (["S1", "before", "before"], 2)


def test_an_empty_match_makes_the_recording_its_own_group():
    assert grouped(r"(S?)", "T1.wav") == (["T1.wav"], 0)


def test_the_rest_of_a_recording_stays_when_it_is_grouped():
    (found,), _ = manifest.group_by([Recording("S1.wav", "x", "g", "test", 3, "0" * 64)], "S.")
    assert found == Recording("S1.wav", "x", "S1", "test", 3, "0" * 64)


@pytest.mark.parametrize("pattern", ["(", "[a", "*", "(?P<n>a)(?P<n>b)"])
def test_a_pattern_that_is_no_regular_expression_is_refused_in_one_line(pattern):
    with pytest.raises(ConfigError, match="not a regular expression") as refused:
        grouped(pattern, "a.wav")
    assert "\n" not in str(refused.value)
