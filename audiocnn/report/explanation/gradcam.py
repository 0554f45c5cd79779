"""Where the network looks: Grad-CAM over the spectrogram, and how far it agrees with hiding places."""

from collections.abc import Sequence

import numpy as np

from audiocnn.explain import gradcam, occlusion
from audiocnn.features.extract import Array
from audiocnn.report import page
from audiocnn.report.explanation import method
from audiocnn.report.explanation.method import ExplainTask, MethodResult, Section

_FORMS = {False: "one for all places", True: "by place"}


def explain_by_gradcam(work: ExplainTask) -> MethodResult:
    """Return the map of every subject, and its agreement with that of occlusion.

    Where a dense layer tells places apart there are two forms, of which the one that agrees better is shown. A network
    without a convolution that has more than one place has no map at all; the section says so.
    """
    title, architecture = "Where the network looks", work.model.network
    try:
        asked = gradcam.layer(architecture)
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
        layer=asked,
        averages=gradcam.averages(architecture),
        by_place=by_place,
        kind=work.model.spec.kind,
        whole=work.whole,
    )
    facts = {
        "layer": asked.name,
        "weights": _FORMS[by_place],
        "rank_correlation_with_occlusion": agreements,
        "rank_correlation_by_weights": {_FORMS[form]: correlations for form, (_, correlations) in by_form.items()},
    }
    return MethodResult(Section("gradcam", title, body), method.map_files(work, found, "gradcam"), facts)


def _maps(work: ExplainTask, *, by_place: bool) -> tuple[list[Array], list[float | None]]:
    """The map of every subject, and its agreement with what speaks for the label by occlusion."""
    found, agreements = [], []
    for subject, hidden in zip(work.inputs, work.occlusion_maps, strict=True):
        level, _ = occlusion.neutral(work.model, subject, work.neutral)
        found.append(gradcam.importance(work.gradients, subject, level, by_place=by_place))
        speaking_for = np.maximum(hidden, 0)  # of the rest Grad-CAM says nothing
        agreements.append(occlusion.with_occlusion(found[-1], speaking_for, subject))
    return found, agreements


def _mean(correlations: Sequence[float | None]) -> float:
    return float(np.mean([-1.0 if one is None else one for one in correlations]))
