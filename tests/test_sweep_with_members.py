"""Sweeps over models of several networks: how settings of variants are combined, and how they are ranked."""

import csv
import os
from pathlib import Path
from typing import Any

import pytest
from ensembles import LOGMEL, MFCC
from projects import tones

from audiocnn import config
from audiocnn.config import Project, SweepPlan
from audiocnn.errors import ConfigError
from audiocnn.progress import Progress
from audiocnn.stages import sweep
from audiocnn.training import out_of_fold

NETWORK = {"model": "2C3-P4-*", "train": {"epochs": 1, "patience": 1}}
MEMBERS: dict[str, Any] = {
    "wide": {"features": LOGMEL.model_dump(mode="json"), **NETWORK},
    "fine": {"features": MFCC.model_dump(mode="json"), **NETWORK},
}


def project_with(folder: Path, **networks: Any) -> Project:
    """A project of tones, with the blocks ``networks`` at the top of its YAML file."""
    settings = {
        "name": "mine",
        "data": {"manifest": "manifest.csv", "root": "sounds"},
        "split": {"test": 0.2, "validation": 0.0},
        "evaluate": {"bootstrap": 100},
        **networks,
    }
    (folder / "audiocnn.yaml").write_text(config.to_yaml(settings))
    return config.read(folder / "audiocnn.yaml")


def plan(project: Project, text: str) -> SweepPlan:
    file = project.file.with_name("sweep.yaml")
    file.write_text(f"name: trial\n{text}")
    return config.read_sweep(os.fspath(file), project)


def test_a_variant_changes_one_member_and_keeps_the_others(tmp_path: Path) -> None:
    found = plan(
        project_with(tmp_path, members=MEMBERS),
        "common: {members: {fine: {train: {epochs: 3}}}}\n"
        "variants: {as is: {}, wider: {members: {wide: {model: 8C3-GAP-*}}}}",
    ).experiments["wider"]
    assert (found.members["wide"].model, found.members["fine"].model) == ("8C3-GAP-*", "2C3-P4-*")
    assert (found.members["wide"].train.epochs, found.members["fine"].train.epochs) == (1, 3)
    assert found.features == MFCC  # of the member that has the scores


def test_a_variant_adds_replaces_and_leaves_out_members(tmp_path: Path) -> None:
    found = plan(
        project_with(tmp_path, members=MEMBERS),
        "variants: {other: {members: {a: {preset: general}, wide: {preset: instrument, model: 4C3-*}, fine: null}}}",
    ).experiments["other"]
    assert list(found.members) == ["wide", "a"]
    assert found.members["wide"].features == config.read_preset("instrument").features
    assert (found.members["wide"].model, found.members["a"].features.kind) == ("4C3-*", "logmel")


def test_a_project_of_one_network_is_compared_with_members_and_the_reverse(tmp_path: Path) -> None:
    one = project_with(tmp_path, features=MFCC.model_dump(mode="json"), **NETWORK)
    text = "variants: {as is: {}, both: {members: {a: {preset: general}, b: {preset: instrument}}}}"
    experiments = plan(one, text).experiments
    assert not experiments["as is"].members and list(experiments["both"].members) == ["a", "b"]
    several = project_with(tmp_path, members=MEMBERS)
    one_network = plan(several, "preset: instrument\nvariants: {small: {model: 4C3-*}}").experiments["small"]
    assert not one_network.members and one_network.model == "4C3-*"
    assert list(plan(one, "preset: best\nvariants: {best: {}}").experiments["best"].members) == [
        "general",
        "instrument",
    ]


def test_all_members_of_a_variant_have_the_seeds_and_the_epochs_of_the_sweep(tmp_path: Path) -> None:
    members = {**MEMBERS, "wide": {**MEMBERS["wide"], "train": {"epochs": 1, "patience": 1, "seed": 7}}}
    found = plan(project_with(tmp_path, members=members), "variants: {as is: {}}").experiments["as is"]
    changed = config.with_train(found, {"epochs": 9})
    assert {(one.train.seed, one.train.epochs) for one in changed.members.values()} == {(0, 9)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("variants: {a: {model: 4C3-*}}", "variant 'a': model: audiocnn.yaml has members, each with its own; move it"),
        (
            "common: {train: {epochs: 2}}\nvariants: {a: {}}",
            "variant 'a': train: audiocnn.yaml has members, each with its own; move it to members.NAME.train, or name",
        ),
        (
            "variants: {a: {model: 4C3-*, members: {wide: {model: 4C3-*}}}}",
            "variant 'a': model: with members, each has its own; move it to members.NAME.model",
        ),
        ("variants: {a: {members: {fine: null}}}", "variant 'a': members: 1 given; a model has 2 to 8"),
        ("variants: {a: {members: {wide: {train: {seed: 3}}}}}", "variant 'a': train.seed: set 'seeds' of the sweep"),
        ("variants: {a: {members: {wide: {trian: {}}}}}", "variant 'a': members.wide.trian: {}: unknown key"),
        (
            "variants: {a: {members: {wide: {preset: best}}}}",
            "members.wide.preset: 'best': not a preset of one network",
        ),
        ("variants: {a: {members: {new: {model: 4C3-*}}}}", "variant 'a': members.new.features: is missing"),
        ("variants: {a: {}, b: {members: {wide: {model: 2C3-P4-*}}}}", "variants 'a' and 'b' are equal"),
    ],
)
def test_a_mistake_in_the_members_of_a_variant_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        plan(project_with(tmp_path, members=MEMBERS), text)
    line = str(refused.value)
    assert message in line and line.startswith(str(tmp_path / "sweep.yaml")) and "\n" not in line


@pytest.mark.slow
def test_a_variant_with_members_is_ranked_by_its_combined_scores_and_repeats_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tones(tmp_path / "sounds", 5)
    rows = sorted(f"{f.relative_to(tmp_path / 'sounds')},{f.parent.name}" for f in tmp_path.rglob("*.wav"))
    (tmp_path / "manifest.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    project = project_with(tmp_path, features=MFCC.model_dump(mode="json"), **NETWORK)
    wide = config.to_yaml({"wide": MEMBERS["wide"], "fine": MEMBERS["fine"]}).replace("\n", "\n      ")
    text = f"name: trial\nvariants:\n  alone: {{}}\n  both:\n    members:\n      {wide}"
    (tmp_path / "sweep.yaml").write_text(text)
    trained = []

    def watched(*arguments: Any, **options: Any) -> Any:
        trained.append(arguments[0].net.notation)
        return train_model(*arguments, **options)

    train_model = out_of_fold.train_model.train_model
    monkeypatch.setattr(out_of_fold.train_model, "train_model", watched)
    result = sweep.run(
        project,
        name=os.fspath(tmp_path / "sweep.yaml"),
        n_folds=2,
        epochs=None,
        fresh=False,
        jobs=1,
        progress=Progress(),
    )
    assert len(trained) == 4  # 'fine' has the settings of 'alone', so its trainings are those
    entries = {entry.name: entry for entry in result.ranking.entries}
    both, alone = entries["both"], entries["alone"]
    assert both.notation == "wide: 2C3-P4-*, fine: 2C3-P4-*" and both.input_shape == alone.input_shape
    assert both.n_params > alone.n_params and both.multiply_adds > alone.multiply_adds
    assert (both.n_units, alone.n_units) == (4, 2)
    assert list(both.settings) == ["members"] and not alone.settings
    table = list(csv.DictReader((result.folder / "results.csv").open(newline="")))
    assert {row["variant"]: row["notation"] for row in table}["both"] == both.notation
