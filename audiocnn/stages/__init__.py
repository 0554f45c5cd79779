"""The verbs of the command line, one a file. They return what they found; `audiocnn.cli` says it."""
