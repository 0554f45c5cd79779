"""One module for each command. A stage returns its result; `audiocnn.terminal` prints it."""
