"""How it is shown that something was explained."""

from pathlib import Path
from typing import TYPE_CHECKING

from audiocnn.terminal.live import Speaker

if TYPE_CHECKING:
    from audiocnn.stages.explain import Explained


class Explanations(Speaker):
    """Says what was explained, and where to look."""

    def explained(self, result: "Explained") -> None:
        said = result.prediction
        known = "" if not said.doubt else f", but called unknown ({said.doubt})"
        about = "" if result.labels == [said.label] else f"; explained: {', '.join(result.labels)}"
        self._print(f"{said.recording}: {said.label} {said.score:.3f}{known}{about}")
        self._print(f"Page: {result.page}")

    def portrayed(self, page: Path) -> None:
        """Of a network alone."""
        self._print(f"Page: {page}")
