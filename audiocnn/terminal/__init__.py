"""How results look on a terminal: tables on stdout, progress and warnings on stderr, no control codes from data."""

from audiocnn.terminal.models import ExplanationOutput, Models, ReviewOutput, TuningOutput
from audiocnn.terminal.predictions import PredictionOutput
from audiocnn.terminal.recordings import Recordings


class Terminal(Recordings, Models, PredictionOutput, ExplanationOutput, TuningOutput, ReviewOutput):
    """Prints all output of the command line: one method for each command's result."""
