"""Models of several networks made to do harm, most with right hashes: each is refused in one line."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ensembles import FIELDS, LABELS, LOGMEL, MFCC, write_bundle, write_ensemble
from extras import require_keras
from projects import audiocnn

from audiocnn.errors import AudiocnnError, ConfigError, IntegrityError
from audiocnn.files import digest_of
from audiocnn.model import bundle
from audiocnn.model.open_model import open_model, read_model
from audiocnn.stages import info

pytestmark = pytest.mark.slow

require_keras()

Change = Callable[[dict[str, Any]], None]
DECISION = {
    "fitted_on": "validation", "n_recordings": 9, "n_groups": 9, "wanted": {}, "thresholds": {}, "coverage": 0.9,
    "set_floor": 0.1, "unknown": 0.0, "typical": [], "familiar_floor": -1.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ensemble(tmp_path_factory.mktemp("good") / "model").folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A copy of the good model to change."""
    return Path(shutil.copytree(good, tmp_path / "model"))


def reseal(folder: Path, change: Change = lambda _: None) -> None:
    """Change ``bundle.json`` and make all its hashes right again, also those of the members that are there."""
    file = folder / bundle.MANIFEST
    value = json.loads(file.read_text(encoding="utf-8"))
    for member in value["members"]:
        own = folder / "members" / member["name"] / bundle.MANIFEST
        member["digest"] = hashlib.sha256(own.read_bytes()).hexdigest()
    change(value)
    del value["sha256"]
    value["sha256"] = digest_of(value)
    value = {key: value[key] for key in FIELDS if key in value}
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def swapped(folder: Path) -> None:
    (folder / "members" / "wide").rename(folder / "wide")
    (folder / "members" / "fine").rename(folder / "members" / "wide")
    (folder / "wide").rename(folder / "members" / "fine")


def linked(folder: Path) -> None:
    (folder / "members" / "fine").rename(folder / "fine")
    (folder / "members" / "fine").symlink_to(folder / "fine")


def all_linked(folder: Path) -> None:
    (folder / "members").rename(folder / "others")
    (folder / "members").symlink_to(folder / "others")


def changed(folder: Path) -> None:
    """A valid model in the place of a member."""
    write_bundle(folder / "members" / "fine", MFCC, seed=9)


def replaced(**fields: Any) -> Callable[[Path], None]:
    """A member of another kind, with right digests."""

    def do(folder: Path) -> None:
        spec = fields.pop("spec", MFCC)
        write_bundle(folder / "members" / "fine", spec, seed=2, **fields)
        reseal(folder)

    return do


def nested(folder: Path) -> None:
    shutil.rmtree(folder / "members" / "fine")
    shutil.copytree(folder, folder.with_name("copy"))
    shutil.copytree(folder.with_name("copy"), folder / "members" / "fine")
    reseal(folder)


def resealed(**fields: Any) -> Callable[[Path], None]:
    return lambda folder: reseal(folder, lambda value: value.update(fields))


def weights(*shares: float) -> Callable[[Path], None]:
    def change(value: dict[str, Any]) -> None:
        for member, share in zip(value["members"], shares, strict=True):
            member["weight"] = share

    return lambda folder: reseal(folder, change)


def of_members(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Callable[[Path], None]:
    return lambda folder: reseal(folder, lambda value: value.update(members=change(value["members"])))


def nine(members: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**members[0], "name": f"m{number}", "weight": 1 / 9} for number in range(9)]


ATTACKS: dict[str, tuple[Callable[[Path], None], type[AudiocnnError], str]] = {
    "a member that is missing": (
        lambda folder: shutil.rmtree(folder / "members" / "fine"), IntegrityError, "members/fine: missing",
    ),
    "no members": (
        lambda folder: shutil.rmtree(folder / "members"),
        IntegrityError, "members: missing; it holds the networks of this model; copy the whole folder",
    ),
    "a member too many": (
        lambda folder: shutil.copytree(folder / "members" / "fine", folder / "members" / "old") and None,
        ConfigError, "members/old: not a member of this model; remove it",
    ),
    "members that are swapped": (swapped, IntegrityError, "members/wide: not the member that"),
    "a member with another name": (
        lambda folder: (folder / "members" / "fine").rename(folder / "members" / "other") and None,
        IntegrityError, "members/fine: missing",
    ),
    "a link to a member": (linked, IntegrityError, "members/fine: missing, or not a folder"),
    "a link to all members": (all_linked, IntegrityError, "members: missing, or not a folder"),
    "another model for a member": (changed, IntegrityError, "members/fine: not the member that"),
    "a member that has members": (nested, ConfigError, "a model in members/ has one network"),
    "a member of other labels": (replaced(labels=("high", "low", "wind")), IntegrityError, "its labels are not those"),
    "a member with labels in another order": (replaced(labels=LABELS[::-1]), IntegrityError, "its labels are not"),
    "a member with another channel": (
        lambda folder: replaced(spec=MFCC.model_copy(update={"channel": 1}))(folder) or resealed(
            features=MFCC.model_copy(update={"channel": 1}).model_dump(mode="json"))(folder),
        IntegrityError, "its members use different channels",
    ),
    "features of the other member": (
        resealed(features=LOGMEL.model_dump(mode="json")), IntegrityError, "not those of the member with the closest",
    ),
    "weights above 1": (weights(0.6, 0.6), IntegrityError, "the weights of the members do not sum to 1"),
    "a weight below 0": (weights(-0.5, 1.5), IntegrityError, "members.0.weight"),
    "a weight of 0": (weights(0.0, 1.0), IntegrityError, "members.0.weight"),
    "nine members": (of_members(nine), IntegrityError, "members: Tuple should have at most 8 items"),
    "one member": (of_members(lambda members: members[:1]), IntegrityError, "members: Tuple should have at least 2"),
    "two members of one name": (
        of_members(lambda members: [members[0], {**members[1], "name": members[0]["name"]}]),
        IntegrityError, "two members have the same name",
    ),
    "a member outside": (
        of_members(lambda members: [members[0], {**members[1], "name": "../../other"}]),
        IntegrityError, "members.1.name",
    ),
    "a member by an absolute name": (
        of_members(lambda members: [members[0], {**members[1], "name": "/etc"}]), IntegrityError, "members.1.name",
    ),
    "a name with a new line": (
        of_members(lambda members: [members[0], {**members[1], "name": "fine\n"}]), IntegrityError, "members.1.name",
    ),
    "another digest": (
        of_members(lambda members: [members[0], {**members[1], "digest": "0" * 64}]), IntegrityError, "not the member",
    ),
    "a byte too many": (
        lambda folder: (folder / bundle.MANIFEST).write_bytes((folder / bundle.MANIFEST).read_bytes() + b"\n") and None,
        IntegrityError, "not as it was written",
    ),
    "another card": (
        lambda folder: (folder / "MODEL_CARD.md").write_text("# other\n") and None,
        IntegrityError, "MODEL_CARD.md: damaged",
    ),
    "a decision about other embeddings": (
        resealed(decision={**DECISION, "typical": [[1.0, 0.0]] * 3}), IntegrityError, "typical embeddings are not",
    ),
    "a name that clears the screen": (resealed(name="\x1b[2J"), IntegrityError, "control code"),
}  # fmt: skip


def test_a_valid_model_is_loaded_also_when_its_hashes_are_made_again(folder: Path) -> None:
    """So the refusals of others are not for the way in which they are written here."""
    reseal(folder, lambda value: value.update(decision={**DECISION, "typical": [[1.0, *[0.0] * 11]] * 3}))
    assert list(open_model(folder).members) == ["wide", "fine"]


def test_a_file_next_to_the_members_does_no_harm(folder: Path) -> None:
    (folder / "members" / ".DS_Store").write_bytes(b"\0")
    assert len(open_model(folder).members) == 2


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_model_of_several_networks_is_refused_in_one_line(folder: Path, name: str) -> None:
    attack, kind, message = ATTACKS[name]
    attack(folder)
    with pytest.raises(kind) as refused:
        open_model(folder)
    line = str(refused.value)
    assert message in line and line.isprintable() and len(line) < 1_000


@pytest.mark.parametrize("name", ["members that are swapped", "a member of other labels", "another digest"])
def test_what_does_not_fit_together_is_not_described_either(folder: Path, name: str) -> None:
    ATTACKS[name][0](folder)
    read_model(folder)  # looks at no member
    with pytest.raises(IntegrityError):
        info.run(folder)


def test_the_command_refuses_with_the_code_of_damage(folder: Path, tmp_path: Path) -> None:
    swapped(folder)
    done = audiocnn("predict", "--model", folder, "x.wav", cwd=tmp_path, code=5)
    (line,) = done.stderr.splitlines()
    assert "not the member that" in line
