"""What all pages have in common: templates in which every text from outside is harmless, and the style."""

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from audiocnn import text
from audiocnn.results.report import words

_FOLDER = Path(__file__).resolve().parent


def template(name: str) -> jinja2.Template:
    """Return a template of this folder, with `audiocnn.results.report.words` as filters."""
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
    return environment.get_template(name)


def style() -> Markup:
    """Return the content of ``style.css``."""
    return Markup((_FOLDER / "style.css").read_text(encoding="utf-8"))  # noqa: S704 - our own file


def _harmless(value: Any) -> Any:
    """Take control codes out of every text that a template prints; jinja2 escapes it afterwards."""
    return text.printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
