"""An evaluation as one HTML page that needs nothing else: no network, no script, pictures and sounds within.

Everything that comes from outside (names, labels, paths, messages) is text: escaped, without control codes.
"""

import math
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from audiocnn import text
from audiocnn.results.evaluation import Evaluation
from audiocnn.results.report import charts, exhibits, verdict, words

_FOLDER = Path(__file__).resolve().parent
_MISTAKES = 5  # commonest confusions that are spelled out
_NOT_HEARD = 200  # rows of the table of recordings that were not heard


def render(evaluation: Evaluation) -> str:
    """Return the page. Exhibits must be at `audiocnn.draw.spectrogram.SAMPLE_RATE`; all of them are shown."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": words.percent,
        "decimal": words.decimal,
        "duration": words.duration,
        "count": words.count,
        "path": text.encode_path,
    }
    not_heard = [
        (prediction, truth)
        for prediction, truth in zip(evaluation.predictions, evaluation.truth, strict=True)
        if not prediction.heard
    ]
    page = environment.get_template("page.html.j2")
    return page.render(
        evaluation=evaluation,
        metrics=evaluation.metrics,
        n_groups=len(set(evaluation.groups)),
        style=Markup((_FOLDER / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
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


def _harmless(value: Any) -> Any:
    """Take control codes out of every text that the template prints; jinja2 escapes it afterwards."""
    return text.printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
