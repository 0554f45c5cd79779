"""Integrated gradients over the spectrogram, with the check that they add up to the score."""

import numpy as np

from audiocnn.explain import integrated_gradients, occlusion
from audiocnn.explain.integrated_gradients import Integrated
from audiocnn.report import page
from audiocnn.report.explanation import method
from audiocnn.report.explanation.method import ExplainTask, MethodResult, Section
from audiocnn.wording import count, percent


def explain_by_integrated_gradients(work: ExplainTask) -> MethodResult:
    """Return the map of each input, its agreement with occlusion, and the check of completeness."""
    raw, agreements, integrals = [], [], []
    total = sum(int(subject.counted.sum()) for subject in work.inputs)
    with work.progress.task("integrate gradients", total=total, unit="windows") as advance:
        for subject, hidden in zip(work.inputs, work.occlusion_maps, strict=True):
            level, _ = occlusion.neutral(work.bundle, subject, work.neutral)
            values, integral = integrated_gradients.importance(work.gradients, subject, level)
            raw.append(values)
            integrals.append(integral)
            agreements.append(occlusion.with_occlusion(values, hidden, subject))
            advance(int(subject.counted.sum()))
    smooth = [occlusion.smoothed(values, subject) for values, subject in zip(raw, work.inputs, strict=True)]
    by = occlusion.neutral(work.bundle, work.inputs[0], work.neutral)[1]
    body = page.render_markup(
        "sections/integrated.html.j2",
        shown=method.show_maps(work, smooth, agreements, "Integrated gradients"),
        completeness=describe_completeness(integrals),
        neutral=by,
        whole=work.whole,
    )
    facts = {
        "neutral": by,
        "unit": "log2 of the odds",
        "rank_correlation_with_occlusion": agreements,
        "tolerance": integrated_gradients.TOLERANCE,
        "most_steps": integrated_gradients.MOST_STEPS,
        "windows": [_facts(integral) for integral in integrals],
    }
    return MethodResult(
        Section("integrated", "What adds up to the score", body),
        method.map_files(work, raw, "integrated"),
        facts,
    )


def describe_completeness(integrals: list[Integrated]) -> str:
    """Report in sentences whether the contributions sum to the difference of scores that they explain."""
    errors = np.concatenate([integral.errors for integral in integrals])
    steps = np.concatenate([integral.n_steps for integral in integrals])
    n, limit = len(errors), percent(integrated_gradients.TOLERANCE)
    n_over = int((errors > integrated_gradients.TOLERANCE).sum())
    check = (
        "As a check, the contributions of each window were summed: they must give the difference between its score and "
        "that of the neutral sound."
    )
    if not n_over:
        many = f"all {count(n, 'window')}" if n > 1 else "the one window"
        return f"{check} For {many} they do, within {limit}; the largest error is {errors.max():.2%}. {_steps(steps)}"
    return (
        f"{check} For {n - n_over} of {count(n, 'window')} they do, within {limit}. For {n_over} the error is up to "
        f"{errors.max():.1%}, even with {integrated_gradients.MOST_STEPS} steps: treat their part of the "
        f"picture with care. {_steps(steps)}"
    )


def _steps(steps: "np.typing.NDArray[np.int64]") -> str:
    low, high = int(steps.min()), int(steps.max())
    return f"It took {low} steps a window." if low == high else f"It took {low} to {high} steps a window."


def _facts(integral: Integrated) -> dict[str, list[float | int | bool]]:
    return {
        "difference": [round(float(x), 6) for x in integral.differences],
        "error": [round(float(x), 6) for x in integral.errors],
        "n_steps": [int(x) for x in integral.n_steps],
        "complete": [bool(x) for x in integral.complete],
    }
