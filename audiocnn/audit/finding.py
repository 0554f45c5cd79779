"""The results of an audit: one finding per check, and the overall verdict."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Severity = Literal["pass", "unchecked", "warn", "fail"]
Verdict = Literal["pass", "warn", "fail"]
_ORDER: tuple[Severity, ...] = get_args(Severity)


@dataclass(frozen=True)
class Finding:
    """The result of one check. Its severity is ``unchecked`` if the check could not run.

    ``sentence`` is one line without jargon; of an ``unchecked`` finding it gives the reason. ``remedy`` says what to
    do, and is empty if there is nothing to do, as always if the check has passed. ``examples`` are lines that name
    recordings. All of them may contain unescaped file names and labels.
    """

    severity: Severity
    topic: str
    sentence: str
    remedy: str = ""
    examples: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.severity == "pass" and self.remedy:
            raise ValueError(f"{self.topic}: a check that has passed needs no remedy")


def overall_verdict(findings: Iterable[Finding]) -> Verdict:
    """Return the highest severity of the checks that ran; ``pass`` if none ran.

    >>> overall_verdict([Finding("pass", "a", "fine"), Finding("warn", "b", "hm"), Finding("pass", "c", "fine")])
    'warn'
    """
    severities = (finding.severity for finding in findings if finding.severity != "unchecked")
    return max(severities, key=_ORDER.index, default="pass")


def sort_by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings with the highest severity first; equal severities keep their order."""
    return sorted(findings, key=lambda finding: -_ORDER.index(finding.severity))


def read_findings(file: Path) -> list[Finding] | None:
    """Return the findings in an ``audit.json``; None if there is no such file, or if it is not one."""
    try:
        return [Finding(**one) for one in json.loads(file.read_text(encoding="utf-8"))["findings"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def pluralize(n: int, noun: str, plural: str = "") -> str:
    """Return a number and its noun, in the singular or plural.

    >>> pluralize(1, "recording"), pluralize(2_000, "recording"), pluralize(2, "copy", "copies")
    ('1 recording', '2,000 recordings', '2 copies')
    """
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
