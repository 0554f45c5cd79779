"""How results look on a terminal: tables on stdout, progress and warnings on stderr, no control codes from data."""

from audiocnn.terminal.explanations import Explanations
from audiocnn.terminal.models import Models
from audiocnn.terminal.predictions import Predictions
from audiocnn.terminal.recordings import Recordings
from audiocnn.terminal.rehearsals import Rehearsals


class Terminal(Recordings, Models, Predictions, Explanations, Rehearsals):
    """Where the command line says everything that it says."""
