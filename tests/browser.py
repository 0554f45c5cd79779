"""A real browser for tests: a Chromium of this machine, driven by Playwright, that has no network and forgets nothing.

`chromium` starts one; `visited` opens a file in it and gives back what a person would see and hear there.
"""

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Locator, Page, Route

VARIABLE = "AUDIOCNN_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome")
AXE = Path(__file__).parent / "assets" / "axe.min.js"  # axe-core 4.14.1 as published on npm; its licences are beside it
_AXE_RUN = "() => axe.run({iframes: false, preload: false}).then(found => found.violations)"
_WAIT_MS = 30_000  # for anything that is to appear, on a busy machine


@dataclass
class Visit:
    """A page in a window of its own, and everything it did that nobody should notice."""

    page: "Page"
    said: list[str] = field(default_factory=list)  # in the console, in dialogs, as errors
    asked_for: list[str] = field(default_factory=list)  # addresses other than the page itself and what it carries

    def violations(self) -> list[str]:
        """What axe-core has to say against the page as it is now, one line for every element."""
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        return [
            f"{rule['id']} ({rule['help']}): {node['target']} {node['html'][:200]} {node['failureSummary']}"
            for rule in self.page.evaluate(_AXE_RUN)
            for node in rule["nodes"]
        ]

    def saved(self, button: "Locator") -> tuple[str, str]:
        """The name and the content of the file that is saved when the button is pressed."""
        with self.page.expect_download() as download:
            button.click()
        return download.value.suggested_filename, Path(download.value.path()).read_bytes().decode()

    def overflow_px(self) -> int:
        """By how much the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@functools.cache
def program() -> str | None:
    """The Chromium that the variable or the search path name, if there is one that runs."""
    if wanted := os.environ.get(VARIABLE):
        assert _runs(wanted), f"{VARIABLE}: {wanted!r} is no browser that starts; name another or unset it"
        return wanted
    return next((found for name in NAMES if (found := shutil.which(name)) and _runs(found)), None)


@contextmanager
def chromium() -> Iterator["Browser"]:
    """Start the browser, or skip the test that asked, naming what is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    executable = program()
    if executable is None:
        pytest.skip(f"no Chromium: none of {', '.join(NAMES)} is there, and {VARIABLE} is not set")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=executable, args=["--autoplay-policy=no-user-gesture-required", "--mute-audio"]
        )
        yield browser
        browser.close()


@contextmanager
def visited(
    browser: "Browser",
    file: Path,
    *,
    width: int = 1280,
    height: int = 900,
    scheme: str = "light",
    motion: str = "reduce",
    script: bool = True,
) -> Iterator[Visit]:
    """Open ``file`` with the network off. Afterwards it must have said nothing and asked for nothing."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion=motion,  # type: ignore[arg-type]
        java_script_enabled=script,
        offline=True,
    )
    context.set_default_timeout(_WAIT_MS)
    visit = Visit(context.new_page())
    address = file.as_uri()

    def answer(route: "Route") -> None:
        url = route.request.url
        if url.split("#")[0] == address or url.startswith(("data:", "blob:")):
            route.continue_()
        else:
            visit.asked_for.append(url)
            route.abort()

    def dismiss(dialog: "Dialog") -> None:
        visit.said.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    context.route("**/*", answer)
    visit.page.on("console", lambda message: visit.said.append(f"{message.type}: {message.text}"))
    visit.page.on("pageerror", lambda error: visit.said.append(f"error: {error}"))
    visit.page.on("dialog", dismiss)
    context.on("page", lambda other: visit.said.append(f"another window: {other.url}"))
    try:
        visit.page.goto(address, wait_until="load")
        yield visit
        visit.page.title()  # there and back, so that all it said before has arrived
        assert visit.said == []
        assert visit.asked_for == []
    finally:
        context.close()


def _runs(executable: str) -> bool:
    """Whether it says its version; Ubuntu's chromium-browser may be a script that only says where to get one."""
    try:
        return not subprocess.run([executable, "--version"], capture_output=True, timeout=60).returncode
    except (OSError, subprocess.TimeoutExpired):
        return False
