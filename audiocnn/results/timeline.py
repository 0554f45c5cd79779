"""What was heard when, as a line of characters for a table."""

from typing import Final

import numpy as np

from audiocnn.results.aggregate import Prediction

WIDTH: Final = 20  # characters at most
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_ASCII: Final = " .:-=+*#@"


def line(prediction: Prediction, *, width: int = WIDTH, ascii_only: bool = False) -> str:
    """Return the score of a recording's label over time, a character a stretch of windows; empty if it was not heard.

    A stretch has the highest score in it, so that a short call in a long recording is seen.

    >>> from audiocnn.features.listen import Account
    >>> scores = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    >>> times = np.arange(3.0)
    >>> heard = Prediction("a.wav", Account("ok"), ("owl", "wind"), np.array([0.6, 0.4]), times, times + 1, scores)
    >>> line(heard), line(heard, ascii_only=True)
    (' ▄█', ' =@')
    """
    if not prediction.heard:
        return ""
    scores = prediction.window_scores[:, prediction.label_index]
    firsts = np.linspace(0, len(scores), min(width, len(scores)), endpoint=False).astype(int)
    heights = np.maximum.reduceat(scores, firsts)
    levels = _ASCII if ascii_only else _BLOCKS
    return "".join(levels[int(np.clip(height, 0, 1) * (len(levels) - 1))] for height in heights)
