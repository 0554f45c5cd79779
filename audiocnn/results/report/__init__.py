"""An evaluation as one HTML page that needs nothing else: no network, no script, pictures and sounds within.

Everything that comes from outside (names, labels, paths, messages) is text: escaped, without control codes.
"""

import math

from audiocnn.results.evaluation import Evaluation
from audiocnn.results.report import charts, exhibits, page, verdict

_MISTAKES = 5  # commonest confusions that are spelled out
_NOT_HEARD = 200  # rows of the table of recordings that were not heard


def render(evaluation: Evaluation) -> str:
    """Return the page. Exhibits must be at `audiocnn.draw.spectrogram.SAMPLE_RATE`; all of them are shown."""
    not_heard = [
        (prediction, truth)
        for prediction, truth in zip(evaluation.predictions, evaluation.truth, strict=True)
        if not prediction.heard
    ]
    return page.template("page.html.j2").render(
        evaluation=evaluation,
        metrics=evaluation.metrics,
        n_groups=len(set(evaluation.groups)),
        style=page.style(),
        verdict=verdict.sentences(evaluation),
        headline=verdict.headline(evaluation),
        mistakes=verdict.mistakes(evaluation, limit=_MISTAKES),
        confusion=charts.confusion(evaluation),
        curves=charts.training(evaluation),
        reliability=charts.calibration(evaluation),
        exhibits=[exhibits.show(exhibit) for exhibit in evaluation.exhibits],
        shown_s=exhibits.SHOWN_S,
        guess_loss=math.log(len(evaluation.labels)),
        n_heard=len(evaluation.predictions) - len(not_heard),
        n_wrong_heard=evaluation.n_wrong - len(not_heard),
        not_heard=not_heard[:_NOT_HEARD],
        n_not_heard=len(not_heard),
    )
