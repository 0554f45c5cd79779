"""The evaluation report as one HTML page that contains its script, pictures and sounds, and needs no network.

All text from outside (names, labels, paths, messages) is escaped and free of control codes, in the script as well.
"""

import math
from itertools import islice

from audiocnn import config
from audiocnn.draw import charts
from audiocnn.evaluation import decision_sentences
from audiocnn.report import page
from audiocnn.report.evaluation import clips, error_patterns, label_figures, next_steps, page_data, plots, verdict
from audiocnn.report.evaluation.content import Evaluation

PAGE_BYTES = 24_000_000  # of a page with pictures and sounds; small enough for mail and browsers
MEDIA_BYTES = 18_000_000  # of pictures and sounds, at most
_MISTAKES = 8  # most frequent confusions that are listed
_WITHOUT_PREDICTION = 200  # recordings without a prediction that are listed without a script
SCRIPTS = (page.COMMON, "evaluation.js")


def render_evaluation(evaluation: Evaluation, *, media_bytes: int = MEDIA_BYTES) -> str:
    """Return the page. Report clips and suspects must have the sample rate of its ``view``.

    Pictures and sounds that exceed ``media_bytes`` are left out; their recordings are still listed.
    """
    without_prediction = [i for i, prediction in enumerate(evaluation.predictions) if not prediction.has_scores]
    block = page_data.json_block(evaluation)
    rows = label_figures.label_rows(evaluation)
    room = PAGE_BYTES - len(block) - sum(row.n_bytes for row in rows)
    gallery = clips.make_gallery(evaluation, budget=min(media_bytes, room))
    unlisted = [clips.show_without_media(evaluation, i) for i in islice(without_prediction, _WITHOUT_PREDICTION)]
    weights = evaluation.class_weights
    crossval = evaluation.part == "crossval"
    return page.render(
        "evaluation.html.j2",
        SCRIPTS,
        kind="Cross-validation report" if crossval else "Evaluation report",
        crossval=crossval,
        evaluation=evaluation,
        metrics=evaluation.metrics,
        n_groups=len(set(evaluation.groups)),
        data=block,
        verdict=verdict.sentences(evaluation),
        headline=verdict.headline(evaluation),
        steps=next_steps.next_steps(evaluation),
        mistakes=verdict.mistakes(evaluation, limit=_MISTAKES),
        matrix=plots.confusion_matrix(evaluation),
        findings=error_patterns.sentences(evaluation),
        labels=rows,
        collections=label_figures.collection_rows(evaluation),
        members=label_figures.member_rows(evaluation),
        curve_area_px=charts.SQUARE_HEIGHT,
        curves=plots.draw_training_curves(evaluation),
        reliability=plots.draw_reliability(evaluation),
        leak_gap=plots.draw_leak_gap(evaluation),
        learning_curve=plots.draw_learning_curve(evaluation),
        sizes=plots.draw_set_sizes(evaluation),
        uninformative_sets=decision_sentences.uninformative_label_sets(evaluation.metrics),
        gallery=gallery,
        listed=[*gallery.worst[: clips.N_WHOLE], *unlisted],
        explained=sum(one.error_maps is not None for one in evaluation.report_clips),
        chance=error_patterns.CHANCE,
        guess_loss=math.log(len(evaluation.labels)),
        n_predicted=len(evaluation.predictions) - len(without_prediction),
        n_wrong_predicted=evaluation.n_wrong - len(without_prediction),
        n_without_prediction=len(without_prediction),
        grouped=any(p.recording != group for p, group in zip(evaluation.predictions, evaluation.groups, strict=True)),
        n_unknown=sum(bool(prediction.doubt) for prediction in evaluation.predictions),
        class_weights=weights if len({round(weight, 3) for weight in weights.values()}) > 1 else {},
        settings_yaml=page.text_lines(config.to_yaml(evaluation.settings)) if evaluation.settings else "",
    )
