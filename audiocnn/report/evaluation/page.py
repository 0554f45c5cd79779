"""An evaluation as one HTML page that needs nothing else: no network, its one script, pictures and sounds within.

Everything that comes from outside (names, labels, paths, messages) is text: escaped, without control codes, and never
markup to the script either.
"""

import math

from audiocnn.draw import charts
from audiocnn.report import page
from audiocnn.report.evaluation import clips, error_patterns, label_figures, page_data, plots, verdict
from audiocnn.report.evaluation.content import Evaluation

PAGE_BYTES = 24_000_000  # of a page with its pictures and sounds; mail and browsers still take it
MEDIA_BYTES = 18_000_000  # of which pictures and sounds, at most
_MISTAKES = 8  # commonest confusions that are spelled out
_NOT_HEARD = 200  # rows of the table of recordings that were not heard


def render_evaluation(evaluation: Evaluation, *, media_bytes: int = MEDIA_BYTES) -> str:
    """Return the page. Exhibits and suspects must be at `audiocnn.draw.spectrogram.SAMPLE_RATE`.

    Pictures and sounds that do not fit into ``media_bytes`` are left out; the recordings are listed all the same.
    """
    not_heard = [
        (prediction, truth)
        for prediction, truth in zip(evaluation.predictions, evaluation.truth, strict=True)
        if not prediction.has_scores
    ]
    block = page_data.json_block(evaluation)
    rows = label_figures.label_rows(evaluation)
    room = PAGE_BYTES - len(block) - sum(row.n_bytes for row in rows)
    script = page.script()
    return page.template("page.html.j2").render(
        evaluation=evaluation,
        metrics=evaluation.metrics,
        n_groups=len(set(evaluation.groups)),
        style=page.style(),
        script=script,
        script_hash=page.script_hash(script),
        data=block,
        verdict=verdict.sentences(evaluation),
        headline=verdict.headline(evaluation),
        advice=verdict.advice(evaluation),
        mistakes=verdict.mistakes(evaluation, limit=_MISTAKES),
        matrix=plots.confusion_matrix(evaluation),
        findings=error_patterns.sentences(evaluation),
        labels=rows,
        curve_area_px=charts.SQUARE_HEIGHT,
        curves=plots.draw_training_curves(evaluation),
        reliability=plots.draw_reliability(evaluation),
        leak_gap=plots.draw_leak_gap(evaluation),
        learning_curve=plots.draw_learning_curve(evaluation),
        sizes=plots.draw_set_sizes(evaluation),
        gallery=clips.make_gallery(evaluation, budget=min(media_bytes, room)),
        explained=sum(one.error_maps is not None for one in evaluation.report_clips),
        n_open=clips.N_OPEN,
        shown_s=clips.SHOWN_S,
        chance=error_patterns.CHANCE,
        guess_loss=math.log(len(evaluation.labels)),
        n_heard=len(evaluation.predictions) - len(not_heard),
        n_wrong_heard=evaluation.n_wrong - len(not_heard),
        not_heard=not_heard[:_NOT_HEARD],
        n_not_heard=len(not_heard),
    )
