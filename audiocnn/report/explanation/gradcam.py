"""Grad-CAM over the spectrogram, and its agreement with occlusion."""

from collections.abc import Sequence

import numpy as np

from audiocnn.explain import gradcam, occlusion
from audiocnn.features.extract import Array
from audiocnn.report import page
from audiocnn.report.explanation import method
from audiocnn.report.explanation.method import ExplainTask, MethodResult, Section

_FORMS = {False: "one for all places", True: "by place"}


def explain_by_gradcam(work: ExplainTask) -> MethodResult:
    """Return the map of each input and its agreement with occlusion.

    If a dense layer distinguishes places, there are two ways to weight filters; the one that agrees better is shown.
    A network without a convolution of more than one place has no map; the section reports it.
    """
    title, architecture = "Where the network looks", work.bundle.network
    try:
        layer = gradcam.layer(architecture)
    except ValueError:
        body = page.render_markup("sections/gradcam.html.j2", shown=[], layer=None)
        return MethodResult(Section("gradcam", title, body), facts={"absent": "no convolution has more than one place"})
    by_form = {False: _maps(work, by_place=False)}
    if not gradcam.averages(architecture):
        by_form[True] = _maps(work, by_place=True)
    by_place = max(by_form, key=lambda form: _mean(by_form[form][1]))
    found, agreements = by_form[by_place]
    body = page.render_markup(
        "sections/gradcam.html.j2",
        shown=method.show_maps(work, found, agreements, "Grad-CAM"),
        layer=layer,
        averages=gradcam.averages(architecture),
        by_place=by_place,
        kind=work.bundle.spec.kind,
        whole=work.whole,
    )
    facts = {
        "layer": layer.name,
        "weights": _FORMS[by_place],
        "rank_correlation_with_occlusion": agreements,
        "rank_correlation_by_weights": {_FORMS[form]: correlations for form, (_, correlations) in by_form.items()},
    }
    return MethodResult(Section("gradcam", title, body), method.map_files(work, found, "gradcam"), facts)


def _maps(work: ExplainTask, *, by_place: bool) -> tuple[list[Array], list[float | None]]:
    """Return the map of each input and its agreement with the positive part of the occlusion map."""
    found, agreements = [], []
    for subject, hidden in zip(work.inputs, work.occlusion_maps, strict=True):
        level, _ = occlusion.neutral(work.bundle, subject, work.neutral)
        found.append(gradcam.importance(work.gradients, subject, level, by_place=by_place))
        positive = np.maximum(hidden, 0)  # Grad-CAM has no negative part
        agreements.append(occlusion.with_occlusion(found[-1], positive, subject))
    return found, agreements


def _mean(correlations: Sequence[float | None]) -> float:
    return float(np.mean([-1.0 if one is None else one for one in correlations]))
