"""How results look on a terminal: tables on stdout, progress and warnings on stderr, no control codes from data."""

from audiocnn.terminal.models import ExplanationOutput, Models, Rehearsals
from audiocnn.terminal.predictions import PredictionOutput
from audiocnn.terminal.recordings import Recordings


class Terminal(Recordings, Models, PredictionOutput, ExplanationOutput, Rehearsals):
    """Where the command line says everything that it says."""
