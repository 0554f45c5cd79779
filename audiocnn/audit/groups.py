"""Check the groups of the recordings: those that file names suggest, and those within one recording.

Takes recordings, and the groupings that `audiocnn.dataset.groups` suggests for them; returns findings.
"""

from collections.abc import Sequence

from audiocnn.audit.finding import Finding, pluralize
from audiocnn.dataset import cut_groups
from audiocnn.dataset.groups import FORMS, Grouping
from audiocnn.dataset.manifest import Recording
from audiocnn.wording import join_names

_TOPIC = "names"
_MAX_LABELS = 12  # whose number of groups is shown
_LOOKED_FOR = (
    "No groups found in the file names. Looked for: words and numbers that recordings of a label share, sub-folders, "
    f"and names as of {join_names([form.source for form in FORMS])}. Groups that the names do not show cannot be found."
)


def check_cut(recordings: Sequence[Recording]) -> list[Finding]:
    """Report groups that are stretches of one recording: a split puts neighbouring ones into different parts."""
    if not (sentence := cut_groups.warning(recordings)):
        return []
    remedy = (
        "Record more of these labels in other places or sessions; for a label with only one recording there is "
        "nothing better."
    )
    return [Finding("warn", "groups", f"{sentence}.", remedy)]


def check_names(recordings: Sequence[Recording], suggested: Sequence[Grouping]) -> Finding:
    """Report groups that the file names suggest and the recordings do not have."""
    if not suggested:
        return Finding("pass", _TOPIC, _LOOKED_FOR)
    missing = [grouping for grouping in suggested if not grouping.is_kept_in(recordings)]
    if not missing:
        return Finding("pass", _TOPIC, "The groups keep together what the file names suggest.")
    n, lines = pluralize(len(missing[0].names), "group"), [_line(grouping) for grouping in missing]
    if missing[0] is suggested[0]:
        known = "; ".join(f"of {form.source}, where the group is {form.unit}" for form in missing[0].forms)
        sentence = (
            f"The file names suggest {n} of recordings{f' (names as {known})' if known else ''}. "
            "A split may separate recordings of one group."
        )
        remedy = (
            "Compare these groupings, fine to coarse, and run 'audiocnn init' again with the coarsest one whose "
            "groups share a place, a device or a day, and with --force."
        )
        return Finding("warn", _TOPIC, sentence, remedy, lines)
    n = pluralize(len(missing[0].names), "larger group")
    sentence = (
        f"Parts of a recording are one group. The names suggest {n} as well, which matters only if these share a "
        "place, a device or a day."
    )
    return Finding("pass", _TOPIC, sentence, examples=lines)


def _line(grouping: Grouping) -> str:
    """Return such as "8 groups (cat 4, dog 4) and 3 recordings alone, such as a, b, c: --group-by '...'"."""
    by_label = [f"{label} {n:,}" for label, n in grouping.n_grouped.items()]
    by_label[_MAX_LABELS:] = ["..."] if len(by_label) > _MAX_LABELS else []
    alone = f" and {pluralize(grouping.n_alone, 'recording')} alone" if grouping.n_alone else ""
    some = ", ".join(grouping.names[:: max(1, len(grouping.names) // 3)][:3])
    n = pluralize(len(grouping.names), "group")
    return f"{n} ({', '.join(by_label)}){alone}, such as {some}: --group-by '{grouping.pattern}'"
