"""Keep the split of the last training when recordings were removed, renamed or added; divide anew only if asked."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from audiocnn.dataset import split
from audiocnn.dataset.manifest import Recording
from audiocnn.dataset.split import Split
from audiocnn.errors import SplitError
from audiocnn.specs import SplitSpec
from audiocnn.text import printable

_CONTENT_DIGITS = 16  # of a SHA-256, to recognize renamed recordings


def describe(division: Split, recordings: Sequence[Recording], hashes: Mapping[str, str], spec: SplitSpec) -> Split:
    """Return a split with what a later training needs to keep it: its settings and the contents of its recordings."""
    return replace(division, settings=_settings(spec), contents={r.split_key: _content(r, hashes) for r in recordings})


def keep(
    file: Path,
    recordings: Sequence[Recording],
    hashes: Mapping[str, str],
    spec: SplitSpec,
    *,
    rare: Collection[str],
    anew: str,
) -> tuple[Split, str]:
    """Return the split in ``file`` for usable recordings, and a sentence on what has changed; empty if nothing has.

    Recordings stay in their part, also if they were renamed. A new one joins the part of its group, that in its
    ``split`` column, or train if its label is among the ``rare`` ones. Recordings that are gone are remembered.

    Raises `SplitError`, with the command line ``anew`` as the remedy, if a new group has no part, a group has two, a
    part or the training recordings of a label are all gone, or the settings of the split have changed.
    """
    kept = split.read(file)
    recordings = sorted(recordings, key=lambda r: r.order)
    groups = split.merge_groups(recordings, hashes)
    if recordings and recordings[0].split is not None:
        split.check_groups_whole([r.path for r in recordings], groups, [r.split or "" for r in recordings], "split")
    key = split.key_of(recordings, groups, spec)
    if kept.key == key and not _untested(kept.part, recordings, spec):
        return _remembering(kept, describe(kept, recordings, hashes, spec), kept.gone), ""
    known, found = _known_parts(kept, recordings, hashes), dict[str, str]()
    refusal = _changed_settings(kept, recordings, spec)
    if not refusal:
        found, refusal = _joined(known, recordings, groups, rare)
    if refusal := refusal or _lost(kept, found, recordings) or _untested(found, recordings, spec):
        raise SplitError(f"{file}: {refusal}, or run '{anew}' to divide all recordings anew")
    made = describe(Split(key, found), recordings, hashes, spec)
    contents, everyone = set(made.contents.values()), {**kept.gone, **kept.part}
    absent = [one for one in everyone if one not in found]
    renamed = [one for one in absent if kept.contents.get(one) in contents]
    gone = {one: everyone[one] for one in absent if one not in renamed}
    changes = [
        _some([one for one in gone if one in kept.part], "gone"),
        _some(renamed, "renamed"),
        _some([one for one in found if one in kept.gone], "back"),
        _some([one for one in found if one not in known], "new and in the part of their group"),
    ]
    line = ", ".join(filter(None, changes))
    if kept.settings is None:  # those of now may not be those that it was made with, so they are not written
        made = replace(made, key="", settings=None)
        line = f"{line}; an older version wrote it, so changed settings are not noticed".removeprefix("; ")
    return _remembering(kept, made, gone), f"{file} is kept: {line}" if line else ""


def _remembering(kept: Split, made: Split, gone: Mapping[str, str]) -> Split:
    """Return a split with the parts and the contents of recordings that are ``gone``."""
    contents = {key: kept.contents[key] for key in gone if key in kept.contents}
    return replace(made, gone=gone, contents={**contents, **made.contents})


def _settings(spec: SplitSpec) -> dict[str, float]:
    return spec.model_dump(exclude={"rare"})


def _content(recording: Recording, hashes: Mapping[str, str]) -> str:
    """Return what identifies the content of a recording, or of the stretch that is its group."""
    stretch = "" if recording.cut is None else "#{}-{}".format(*recording.cut)
    return hashes[recording.path][:_CONTENT_DIGITS] + stretch


def _known_parts(kept: Split, recordings: Sequence[Recording], hashes: Mapping[str, str]) -> dict[str, str]:
    """Return the part of every recording that the kept split has, under this name or another one."""
    everyone = {**kept.gone, **kept.part}
    by_content = {content: everyone[key] for key, content in kept.contents.items() if key in everyone}
    found = {r.split_key: everyone.get(r.split_key) or by_content.get(_content(r, hashes)) for r in recordings}
    return {key: part for key, part in found.items() if part is not None}


def _changed_settings(kept: Split, recordings: Sequence[Recording], spec: SplitSpec) -> str:
    """Return which setting of the split has changed, as a clause; empty if none that matters has."""
    column = {r.split_key: r.split for r in recordings if r.split is not None}
    assigned = {"test", "validation"} - set(column.values())  # parts that are taken at random, of a column from train
    for key, part in column.items():
        before = kept.part.get(key, part)
        if before != part and not (part == "train" and before in assigned):
            return f"the split column has {printable(key)} in {part}, the split in {before}; set it back"
    matters = [*sorted(assigned), *(["seed"] if assigned else [])]
    now = _settings(spec)
    changed = [name for name in matters if kept.settings is not None and kept.settings.get(name) != now[name]]
    if not changed or kept.settings is None:
        return ""
    values = ", ".join(f"split.{name} was {kept.settings.get(name):g} and is {now[name]:g}" for name in changed)
    return f"{values}; set it back"


def _joined(
    known: Mapping[str, str], recordings: Sequence[Recording], groups: Sequence[str], rare: Collection[str]
) -> tuple[dict[str, str], str]:
    """Return the part of every recording, where those without one join their group, and a refusal if that fails."""
    members: dict[str, dict[str, str]] = defaultdict(dict)  # key of a recording in each part of a group
    labels: dict[str, set[str]] = defaultdict(set)
    for recording, group in zip(recordings, groups, strict=True):
        labels[group].add(recording.label)
        if (part := known.get(recording.split_key)) is not None:
            members[group].setdefault(part, recording.split_key)
    for group, where in members.items():
        if len(where) > 1:
            named = ", ".join(f"{printable(key)} in {part}" for part, key in sorted(where.items()))
            return {}, f"group '{printable(group)}' is now divided: {named}; undo the change of groups"
    found: dict[str, str] = {}
    lost: dict[str, str] = {}
    for recording, group in zip(recordings, groups, strict=True):
        if where := members[group]:
            found[recording.split_key] = next(iter(where))
        elif recording.split is not None:
            found[recording.split_key] = recording.split
        elif labels[group] <= set(rare):
            found[recording.split_key] = "train"
        else:
            lost[recording.split_key] = group
    if lost:
        n, n_groups = len(lost), len(set(lost.values()))
        are = "recording is" if n == 1 else "recordings are"
        return found, (
            f"{n:,} {are} new, in {n_groups:,} group{'s' * (n_groups > 1)} that no part has, such as "
            f"{printable(next(iter(lost)))}; remove them from the manifest, or put them into groups that it has"
        )
    return found, ""


def _lost(kept: Split, found: Mapping[str, str], recordings: Sequence[Recording]) -> str:
    """Return what is lost with the recordings that are gone, as a clause; empty if each part still has its use."""
    for part in sorted(set(kept.part.values()) - set(found.values())):
        return f"all recordings of its {part} part are gone; restore some"
    trained = {r.label for r in recordings if found[r.split_key] == "train"}
    for label in sorted({r.label for r in recordings} - trained):
        return f"no recording of label '{printable(label)}' is in its train part; restore one"
    return ""


def _untested(found: Mapping[str, str], recordings: Sequence[Recording], spec: SplitSpec) -> str:
    """Return which label is not in all parts, if that is to be refused (``rare: refuse``), as a clause."""
    if spec.rare != "refuse" or not recordings or recordings[0].split is not None:
        return ""
    where = {(recording.label, found.get(recording.split_key)) for recording in recordings}
    for label in sorted({recording.label for recording in recordings}):
        for part in sorted(set(found.values())):
            if (label, part) not in where:
                return (
                    f"no recording of label '{printable(label)}' is in its {part} part; set split.rare: train or drop"
                )
    return ""


def _some(keys: Sequence[str], what: str) -> str:
    n = len(keys)
    return f"{n:,} recording{' is' if n == 1 else 's are'} {what} (such as {printable(keys[0])})" if n else ""
