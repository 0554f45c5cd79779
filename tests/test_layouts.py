"""Public data sets are recognised by their own metadata: trees of made sounds with the names of the real ones."""

import csv
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import soundfile
import sounds
from projects import audiocnn

from audiocnn import config
from audiocnn.dataset import manifest
from audiocnn.dataset.layouts import LAYOUTS
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import ManifestError
from audiocnn.progress import Progress
from audiocnn.stages import init
from audiocnn.stages.init import InitResult


def sound(file: Path) -> None:
    """Write a short sound, another one for each path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(map(ord, file.as_posix()))
    soundfile.write(file, sounds.noise(0.2, seed=seed), sounds.RATE, format="WAV")


def table(file: Path, columns: str, *rows: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join((columns, *rows)) + "\n")


def read(folder: Path, out: Path, **options: Any) -> InitResult:
    chosen = dict[str, Any](
        name=None, preset=None, group_by=None, root=None, background=None, out=out, allow_outside=False, force=False,
        jobs=1, progress=Progress(),
    )  # fmt: skip
    out.mkdir(exist_ok=True)
    return init.run(folder, **(chosen | options))


def recordings(result: InitResult, folder: Path) -> dict[str, Recording]:
    return {recording.path: recording for recording in manifest.read(result.manifest, root=folder)}


def fields(result: InitResult, folder: Path, *names: str) -> dict[str, tuple[Any, ...]]:
    return {p: tuple(getattr(r, name) for name in names) for p, r in recordings(result, folder).items()}


def problems(result: InitResult) -> list[tuple[str, str, str, str]]:
    if result.problems is None:
        return []
    with open(result.problems, newline="") as file:
        return [(row["file"], row["line"], row["problem"], row["outcome"]) for row in csv.DictReader(file)]


def about(result: InitResult) -> str:
    return config.read(result.config).experiment.data.about


def esc50(folder: Path) -> Path:
    table(
        folder / "meta/esc50.csv",
        "filename,fold,target,category,esc10,src_file,take",
        "1-100032-A-0.wav,1,0,dog,True,100032,A",
        "1-100038-A-14.wav,1,14,chirping_birds,False,100038,A",
        "1-100210-A-36.wav,2,36,vacuum_cleaner,False,100210,A",
        "1-100032-B-0.wav,1,0,dog,True,100032,B",
    )
    for name in ("1-100032-A-0", "1-100038-A-14", "1-100210-A-36", "1-100032-B-0"):
        sound(folder / f"audio/{name}.wav")
    return folder


def test_esc_50_has_its_categories_sources_and_folds(tmp_path: Path) -> None:
    folder = esc50(tmp_path / "ESC-50-master")
    result = read(folder, tmp_path / "out")
    assert result.report.notes[0] == "Recognised ESC-50 by meta/esc50.csv: label category, group src_file, fold fold."
    assert fields(result, folder, "label", "group", "fold", "split") == {
        "audio/1-100032-A-0.wav": ("dog", "100032", 1, None),
        "audio/1-100032-B-0.wav": ("dog", "100032", 1, None),
        "audio/1-100038-A-14.wav": ("chirping_birds", "100038", 1, None),
        "audio/1-100210-A-36.wav": ("vacuum_cleaner", "100210", 2, None),
    }
    assert "CC BY-NC 3.0" in about(result) and "Piczak" in about(result)
    assert problems(result) == []


def test_a_data_set_is_recognised_in_the_only_sub_folder_as_well(tmp_path: Path) -> None:
    esc50(tmp_path / "download/ESC-50-master")
    result = read(tmp_path / "download", tmp_path / "out")
    assert result.report.notes[0].startswith("Recognised ESC-50 by ESC-50-master/meta/esc50.csv")
    assert "ESC-50-master/audio/1-100032-A-0.wav" in recordings(result, tmp_path / "download")


def test_what_only_the_metadata_or_only_the_folder_has_is_listed(tmp_path: Path) -> None:
    folder = esc50(tmp_path / "ESC-50-master")
    (folder / "audio/1-100210-A-36.wav").unlink()
    sound(folder / "audio/mine.wav")
    result = read(folder, tmp_path / "out")
    assert len(recordings(result, folder)) == 3
    assert problems(result) == [
        ("meta/esc50.csv", "4", "audio/1-100210-A-36.wav does not exist", "left out"),
        ("audio/mine.wav", "", "is not named by the metadata", "not used"),
    ]


def test_esc_10_is_known_by_its_folders(tmp_path: Path) -> None:
    for name in ("001 - Dog bark/1-100032-A", "001 - Dog bark/1-100032-B", "002 - Rain/5-17367-A"):
        sound(tmp_path / f"ESC-10/{name}.ogg")
    result = read(tmp_path / "ESC-10", tmp_path / "out")
    assert result.report.notes[0].endswith(": label category, group clip, fold fold.")
    assert fields(result, tmp_path / "ESC-10", "label", "group", "fold") == {
        "001 - Dog bark/1-100032-A.ogg": ("Dog bark", "100032", 1),
        "001 - Dog bark/1-100032-B.ogg": ("Dog bark", "100032", 1),
        "002 - Rain/5-17367-A.ogg": ("Rain", "17367", 5),
    }
    assert "CC BY 3.0" in about(result)


def test_urbansound8k_has_its_classes_recordings_and_folds(tmp_path: Path) -> None:
    folder = tmp_path / "UrbanSound8K"
    table(
        folder / "metadata/UrbanSound8K.csv",
        "slice_file_name,fsID,start,end,salience,fold,classID,class",
        "100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark",
        "100263-2-0-117.wav,100263,58.5,62.5,1,5,2,children_playing",
        "100263-2-0-121.wav,100263,60.5,64.5,1,5,2,children_playing",
        "7061-6-0-0.wav,7061,0.0,2.25,1,10,6,gun_shot",
    )
    for path in ("fold5/100032-3-0-0", "fold5/100263-2-0-117", "fold5/100263-2-0-121", "fold10/7061-6-0-0"):
        sound(folder / f"audio/{path}.wav")
    result = read(folder, tmp_path / "out")
    assert result.report.notes == [
        "Recognised UrbanSound8K by metadata/UrbanSound8K.csv: label class, group fsID, fold fold."
    ]
    assert fields(result, folder, "label", "group", "fold") == {
        "audio/fold10/7061-6-0-0.wav": ("gun_shot", "7061", 10),
        "audio/fold5/100032-3-0-0.wav": ("dog_bark", "100032", 5),
        "audio/fold5/100263-2-0-117.wav": ("children_playing", "100263", 5),
        "audio/fold5/100263-2-0-121.wav": ("children_playing", "100263", 5),
    }
    assert "Salamon" in about(result)


def speech_commands(folder: Path) -> Path:
    for word in ("happy", "seven"):
        for name in ("3cfc6b3a_nohash_0", "3cfc6b3a_nohash_2", "0a7c2a8d_nohash_0", "c50f55b8_nohash_0"):
            sound(folder / word / f"{name}.wav")
    sound(folder / "_background_noise_/doing_the_dishes.wav")
    table(folder / "validation_list.txt", "happy/0a7c2a8d_nohash_0.wav", "seven/0a7c2a8d_nohash_0.wav")
    table(folder / "testing_list.txt", "happy/c50f55b8_nohash_0.wav", "seven/c50f55b8_nohash_0.wav")
    return folder


def test_speech_commands_has_its_lists_and_speakers_and_no_class_for_noise(tmp_path: Path) -> None:
    folder = speech_commands(tmp_path / "speech_commands_v0.02")
    result = read(folder, tmp_path / "out")
    assert result.report.notes == [
        "Recognised Speech Commands by validation_list.txt and testing_list.txt: label folder, group speaker, "
        "split validation_list.txt and testing_list.txt."
    ]
    found = fields(result, folder, "label", "group", "split")
    assert len(found) == 8
    assert found["happy/3cfc6b3a_nohash_2.wav"] == ("happy", "3cfc6b3a", "train")
    assert found["seven/0a7c2a8d_nohash_0.wav"] == ("seven", "0a7c2a8d", "validation")
    assert found["seven/c50f55b8_nohash_0.wav"] == ("seven", "c50f55b8", "test")
    assert [problem[0] for problem in problems(result)] == ["_background_noise_/doing_the_dishes.wav"]


def test_fsdkaggle2018_has_its_train_and_test_sets(tmp_path: Path) -> None:
    folder = tmp_path / "FSDKaggle2018"
    table(
        folder / "FSDKaggle2018.meta/train_post_competition.csv",
        "fname,label,manually_verified,freesound_id,license",
        "00044347.wav,Hi-hat,0,28739,Attribution",
        "001ca53d.wav,Saxophone,1,358827,Attribution",
    )
    table(
        folder / "FSDKaggle2018.meta/test_post_competition_scoring_clips.csv",
        "fname,label,usage,freesound_id,license",
        "00326aa9.wav,Hi-hat,Private,355125,Attribution",
        "0038a046.wav,Saxophone,Public,90621,Attribution",
    )
    for name in ("train/00044347", "train/001ca53d", "test/00326aa9", "test/0038a046"):
        sound(folder / f"FSDKaggle2018.audio_{name}.wav")
    result = read(folder, tmp_path / "out")
    assert result.report.notes[0].endswith("label label, group freesound_id, split tables of train and test.")
    assert fields(result, folder, "label", "group", "split") == {
        "FSDKaggle2018.audio_test/00326aa9.wav": ("Hi-hat", "355125", "test"),
        "FSDKaggle2018.audio_test/0038a046.wav": ("Saxophone", "90621", "test"),
        "FSDKaggle2018.audio_train/00044347.wav": ("Hi-hat", "28739", "train"),
        "FSDKaggle2018.audio_train/001ca53d.wav": ("Saxophone", "358827", "train"),
    }


def test_fsdkaggle2019_leaves_out_recordings_with_several_or_wrong_labels_and_sets_that_are_not_there(
    tmp_path: Path,
) -> None:
    folder, meta = tmp_path / "FSDKaggle2019", tmp_path / "FSDKaggle2019/FSDKaggle2019.meta"
    table(
        meta / "train_curated_post_competition.csv",
        "fname,labels,freesound_id,license",
        "0006ae4e.wav,Bark,65579,CC0",
        "0019ef41.wav,Raindrop,27480,CC-BY",
        '001ec0ad.wav,"Walk_and_footsteps,Slam",333,CC0',
        "f76181c4.wav,Bark,1,CC0",
    )
    table(meta / "train_noisy_post_competition.csv", "fname,labels,flickr_video_URL,license", "00097e21.wav,Bus,u,BY")
    for name in ("0006ae4e", "0019ef41", "001ec0ad", "f76181c4"):
        sound(folder / f"FSDKaggle2019.audio_train_curated/{name}.wav")
    result = read(folder, tmp_path / "out")
    assert fields(result, folder, "label", "group", "split") == {
        "FSDKaggle2019.audio_train_curated/0006ae4e.wav": ("Bark", "65579", None),
        "FSDKaggle2019.audio_train_curated/0019ef41.wav": ("Raindrop", "27480", None),
    }
    assert "The split is not used, as only its part train is there." in result.report.notes
    several, faulty, absent = problems(result)
    assert several[1] == "4" and "has several labels" in several[2]
    assert faulty[1] == "5" and "has a wrong label or no sound, by the README" in faulty[2]
    assert absent[0].endswith("train_noisy_post_competition.csv") and "none of its 1 recordings exists" in absent[2]


@pytest.mark.parametrize("year", [2021, 2024, 2025])
def test_birdclef_has_its_primary_labels_and_recordists(year: int, tmp_path: Path) -> None:
    folder = tmp_path / f"birdclef-{year}"
    files = ("asbfly/XC134896.ogg", "asbfly/XC164848.ogg", "zitcis1/XC303999.ogg")
    names = [file.rpartition("/")[2] for file in files] if year == 2021 else files
    table(
        folder / ("train.csv" if year == 2025 else "train_metadata.csv"),
        "primary_label,secondary_labels,type,author,license,filename",
        f"asbfly,[],['song'],Matt Slaymaker,CC,{names[0]}",
        f"asbfly,\"['zitcis1', 'comior1']\",['call'],Vir Joshi,CC,{names[1]}",
        f"zitcis1,[''],['song'],Matt Slaymaker,CC,{names[2]}",
    )
    audio = "train_short_audio" if year == 2021 else "train_audio"
    for file in files:
        sound(folder / audio / file)
    sound(folder / "test_soundscapes/460830.ogg")
    result = read(folder, tmp_path / "out")
    assert fields(result, folder, "label", "group") == {
        f"{audio}/{files[0]}": ("asbfly", "Matt Slaymaker"),
        f"{audio}/{files[1]}": ("asbfly", "Vir Joshi"),
        f"{audio}/{files[2]}": ("zitcis1", "Matt Slaymaker"),
    }
    assert "Secondary labels are not used: 1 of 3 rows have some." in result.report.notes
    secondary, soundscape = result.report.problems
    assert (secondary.line, secondary.value, secondary.outcome) == (3, "zitcis1 comior1", "not used")
    assert soundscape.file == "test_soundscapes/460830.ogg"


@pytest.mark.parametrize("above", ["", "IRMAS-TrainingData/"])
def test_irmas_has_its_instruments_and_songs(above: str, tmp_path: Path) -> None:
    folder = tmp_path / "IRMAS"
    for path in ("cel/[cel][cla]0001__1", "cel/[cel][cla]0001__2", "voi/008__[voi][dru][pop_roc]0058__1"):
        sound(folder / f"{above}{path}.wav")
    sound(folder / "IRMAS-TestingData-Part1/Part1/01 - Anthem-1.wav")
    result = read(folder, tmp_path / "out")
    assert {path.rpartition("/")[2]: found for path, found in fields(result, folder, "label", "group").items()} == {
        "[cel][cla]0001__1.wav": ("cel", "0001"),
        "[cel][cla]0001__2.wav": ("cel", "0001"),
        "008__[voi][dru][pop_roc]0058__1.wav": ("voi", "0058"),
    }
    ((file, _, problem, outcome),) = problems(result)
    assert file.endswith("01 - Anthem-1.wav") and "may have several labels" in problem and outcome == "not used"


def spoken_digits(folder: Path) -> Path:
    for name in ("0_jackson_0", "0_theo_0", "7_jackson_32", "7_theo_1"):
        sound(folder / f"recordings/{name}.wav")
    return folder


def test_the_free_spoken_digit_dataset_has_digits_and_speakers(tmp_path: Path) -> None:
    folder = spoken_digits(tmp_path / "free-spoken-digit-dataset")
    result = read(folder, tmp_path / "out")
    assert fields(result, folder, "label", "group", "split")["recordings/7_jackson_32.wav"] == ("7", "jackson", None)
    assert "CC BY-SA 4.0" in about(result)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_audiofolder_has_the_labels_of_its_metadata_and_the_split_of_its_folders(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    rows = [(part, f"{number}.wav", label) for part in ("train", "test") for number, label in enumerate(("owl", "fox"))]
    for part, name, _ in rows:
        sound(folder / "data" / part / name)
    for part in ("train", "test"):
        mine = [(name, label) for where, name, label in rows if where == part]
        lines = [json.dumps({"file_name": name, "label": label}) for name, label in mine]
        if kind == "csv":
            lines = ["file_name,label", *(f"{name},{label}" for name, label in mine)]
        table(folder / "data" / part / f"metadata.{kind}", *lines)
    result = read(folder, tmp_path / "out")
    assert result.report.notes[0].startswith("Recognised Hugging Face AudioFolder by data/")
    assert result.report.notes[0].endswith(": label label, split folders.")
    assert fields(result, folder, "label", "split") == {
        f"data/{part}/{name}": (label, part) for part, name, label in rows
    }
    assert about(result) == ""


def test_an_audiofolder_without_split_folders_has_no_split(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    lines = [json.dumps({"file_name": f"data/{n}.wav", "label": label}) for n, label in enumerate(("owl", "fox"))]
    several = json.dumps({"file_name": "data/2.wav", "label": ["owl", "fox"]})
    table(folder / "metadata.jsonl", *lines, several)
    for number in range(3):
        sound(folder / f"data/{number}.wav")
    result = read(folder, tmp_path / "out")
    assert result.report.notes == ["Recognised Hugging Face AudioFolder by metadata.jsonl: label label."]
    assert fields(result, folder, "label", "split") == {"data/0.wav": ("owl", None), "data/1.wav": ("fox", None)}
    assert [problem[1:] for problem in problems(result)] == [
        ("3", "data/2.wav has several labels; a recording needs one", "left out")
    ]


@pytest.mark.parametrize("metadata", ["FSD50K.ground_truth/dev.csv", "eval_segments.csv"])
def test_a_set_with_several_labels_a_recording_is_refused(metadata: str, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    table(folder / metadata, "fname,labels,mids,split", '64760,"Electric_guitar,Guitar,Music","/m/02sgy",train')
    sound(folder / "FSD50K.dev_audio/64760.wav")
    with pytest.raises(ManifestError, match=r"several labels, and a classifier here gives one; write a manifest"):
        read(folder, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_options_that_name_labels_switch_the_recognition_off(tmp_path: Path) -> None:
    folder = speech_commands(tmp_path / "set")
    result = read(folder, tmp_path / "out", label_level=1)
    assert not any("Recognised" in note for note in result.report.notes)
    assert {r.split for r in recordings(result, folder).values()} == {None}


def test_a_stray_file_of_the_same_name_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for path in ("owl/1.wav", "fox/1.wav"):
        sound(folder / path)
    table(folder / "metadata.csv", "file_name,transcription", "owl/1.wav,hoo")
    table(folder / "train.csv", "id,target", "1,2")
    result = read(folder, tmp_path / "out")
    assert fields(result, folder, "label") == {"fox/1.wav": ("fox",), "owl/1.wav": ("owl",)}
    assert result.report.notes == [] and about(result) == ""


def test_metadata_without_its_recordings_is_named_where_the_folder_cannot_be_used(tmp_path: Path) -> None:
    folder = esc50(tmp_path / "set")
    (folder / "audio").rename(folder / "audio_16k")
    done = audiocnn("init", folder, "--out", tmp_path / "out", cwd=tmp_path, code=2)
    assert "none of its 4 recordings exists, such as audio/1-100032-A-0.wav" in done.stderr


def test_layouts_are_listed_without_a_folder(tmp_path: Path) -> None:
    done = audiocnn("init", "--list-layouts", cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0].split("  ")[0] == "data set"
    for layout in LAYOUTS:
        (line,) = (line for line in lines if line.startswith(f"{layout.name} "))
        assert (layout.label or "refused") in line


@pytest.mark.slow
def test_the_page_on_public_data_sets_shows_what_init_takes(tmp_path: Path) -> None:
    esc50(tmp_path / "ESC-50-master")
    speech_commands(tmp_path / "speech_commands")
    spoken_digits(tmp_path / "free-spoken-digit-dataset")
    page = (Path(__file__).parent.parent / "docs" / "public-data-sets.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\$ audiocnn (init .*)\n(Recognised [^.]*\.[^.]*(?:\.[^.]*)*?\.)\n\.\.\.$", page, re.MULTILINE)
    assert len(shown) == 3
    for command, note in shown:
        done = audiocnn(*command.split(), "--force", cwd=tmp_path)
        assert " ".join(note.split()) in " ".join(done.stdout.split())


def test_the_page_makes_esc_10_out_of_esc_50(tmp_path: Path) -> None:
    folder = esc50(tmp_path / "ESC-50-master")
    with open(folder / "meta/esc50.csv", "a") as file:
        file.write("2-77945-A-41.wav,2,41,chainsaw,True,77945,A\n")
    sound(folder / "audio/2-77945-A-41.wav")
    page = (Path(__file__).parent.parent / "docs" / "public-data-sets.md").read_text(encoding="utf-8")
    select, init_command = re.findall(r"^\$ (.*esc10\.csv.*)$", page, re.MULTILINE)
    assert subprocess.run(select, shell=True, cwd=tmp_path, check=False).returncode == 0
    audiocnn(*shlex.split(init_command)[1:], cwd=tmp_path)
    with open(tmp_path / "esc10" / "manifest.csv", newline="") as file:
        found = {row["path"]: (row["label"], row["group"], row["fold"]) for row in csv.DictReader(file)}
    dogs = {f"1-100032-{take}-0.wav": ("dog", "100032", "1") for take in "AB"}
    assert found == dogs | {"2-77945-A-41.wav": ("chainsaw", "77945", "2")}
