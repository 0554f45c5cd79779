"""What to do next: the advice of the verdict, the findings of the audit, and the commands that tell more."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from audiocnn.report.evaluation import verdict
from audiocnn.report.evaluation.content import Evaluation

_MOST_FINDINGS = 3  # of the audit that are shown
_COMMAND = re.compile(r"'(audiocnn [^']+)'")


@dataclass(frozen=True)
class NextStep:
    """A sentence, and commands to copy."""

    sentence: str
    commands: Sequence[str] = ()


def next_steps(evaluation: Evaluation) -> list[NextStep]:
    """Return what to do next, the most useful first."""
    steps = [NextStep(sentence) for sentence in verdict.advice(evaluation)]
    return [*steps, *_audit(evaluation), *_studies(evaluation)] if evaluation.predictions else steps


def _audit(evaluation: Evaluation) -> list[NextStep]:
    """The faults that the audit found, or the command that looks for them."""
    if evaluation.audit is None:
        sentence = "Check the data for copies, leaks between groups, and shortcuts:"
        return [NextStep(sentence, ["audiocnn audit"])] if _own(evaluation) else []
    faults = [finding for finding in evaluation.audit if finding.severity in ("warn", "fail")]
    steps = [
        NextStep(
            f"The audit reports: {finding.sentence} {finding.remedy}".rstrip(),
            list(dict.fromkeys(_COMMAND.findall(finding.remedy))),
        )
        for finding in faults[:_MOST_FINDINGS]
    ]
    n_more = len(faults) - len(steps)
    more = f"The audit reports {n_more} more {'fault' if n_more == 1 else 'faults'}; audit.json lists them."
    return [*steps, NextStep(more)] if n_more else steps


def _studies(evaluation: Evaluation) -> list[NextStep]:
    """The commands that were not run yet."""
    if evaluation.part == "crossval" and evaluation.own_part:
        return [NextStep("Look for labels that may be wrong by these scores:", ["audiocnn audit", "audiocnn evaluate"])]
    if not _own(evaluation):
        return []
    missing = [name for name in ("learning-curve", "leak-gap") if name.replace("-", "_") not in evaluation.metrics]
    about = {
        "learning-curve": "Find out whether more recordings would help:",
        "leak-gap": "Find out how much a random split of the windows would have overstated the accuracy:",
    }
    steps = [NextStep(about[name], [f"audiocnn evaluate --study {name}"]) for name in missing]
    if evaluation.suspects is None:
        steps.insert(0, NextStep("Look for labels that may be wrong:", ["audiocnn crossval", "audiocnn evaluate"]))
    return steps


def _own(evaluation: Evaluation) -> bool:
    """Return whether the audit and the studies of the project belong to what was evaluated."""
    return evaluation.own_part and evaluation.part in ("test", "crossval")
