"""What an audit says: one finding a matter, and the verdict that all of them make."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Severity = Literal["pass", "unchecked", "warn", "fail"]
Verdict = Literal["pass", "warn", "fail"]
_ORDER: tuple[Severity, ...] = get_args(Severity)


@dataclass(frozen=True)
class Finding:
    """One matter that was looked into, or could not be: then it is ``unchecked``, and ``sentence`` gives the reason.

    ``sentence`` is one line for somebody without a degree, ``remedy`` what to do about it (empty if nothing need be
    done), ``examples`` are lines that name recordings. All may hold hostile text.
    """

    severity: Severity
    topic: str
    sentence: str
    remedy: str = ""
    examples: Sequence[str] = ()


def overall_verdict(findings: Iterable[Finding]) -> Verdict:
    """The gravest severity of all that was checked; ``pass`` where there are none.

    >>> overall_verdict([Finding("pass", "a", "fine"), Finding("warn", "b", "hm"), Finding("pass", "c", "fine")])
    'warn'
    """
    found = (finding.severity for finding in findings if finding.severity != "unchecked")
    return max(found, key=_ORDER.index, default="pass")


def sort_by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings, what fails first, in the order in which they came otherwise."""
    return sorted(findings, key=lambda finding: -_ORDER.index(finding.severity))


def pluralize(n: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun.

    >>> pluralize(1, "recording"), pluralize(2_000, "recording"), pluralize(2, "copy", "copies")
    ('1 recording', '2,000 recordings', '2 copies')
    """
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
