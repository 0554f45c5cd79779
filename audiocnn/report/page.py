"""What all pages have in common: templates in which every text from outside is harmless, the style, and the script."""

import base64
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from audiocnn import text, wording

COMMON = "common.js"  # the script of every page
_FOLDER = Path(__file__).resolve().parent / "templates"


def template(name: str) -> jinja2.Template:
    """Return a template of this folder, with `audiocnn.wording` as filters."""
    return _environment().get_template(name)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": wording.percent,
        "decimal": wording.decimal,
        "duration": wording.duration,
        "count": wording.count,
        "points": wording.percentage_points,
        "share_ends": lambda ci95: wording.interval(ci95 or (None, None), wording.percent),
        "ends": lambda ci95: wording.interval(ci95 or (None, None), wording.decimal),
        "point_ends": wording.percentage_points_interval,
        "quoted": wording.quoted,
    }
    return environment


def render_markup(name: str, **context: Any) -> Markup:
    """Return a template of this folder, filled in; it escapes what is no markup."""
    return Markup(template(name).render(**context))  # noqa: S704 - by the template


def render(name: str, scripts: Sequence[str] = (COMMON,), /, **context: Any) -> str:
    """Return the page of a template that extends ``base.html.j2``, with the style and these scripts of this folder."""
    code = script(*scripts)
    return template(name).render(style=_own("style.css"), script=code, script_hash=script_hash(code), **context)


def script(*names: str) -> Markup:
    """Return the content of scripts of this folder, one after the other."""
    return Markup("").join(map(_own, names))


def text_lines(content: str) -> Markup:
    """Return a text of several lines, escaped and without control codes."""
    return Markup("\n").join(escape(text.printable(line)) for line in content.splitlines())


def script_hash(script: str) -> str:
    """Return by what a Content-Security-Policy knows an inline script.

    >>> script_hash("")
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _own(name: str) -> Markup:
    return Markup((_FOLDER / name).read_text(encoding="utf-8"))  # noqa: S704 - our own file


def _harmless(value: Any) -> Any:
    """Take control codes out of every text that a template prints; jinja2 escapes it afterwards."""
    return text.printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
