"""audiocnn: from a folder of labelled recordings to a trustworthy classifier, in three commands."""

__version__ = "0.1.0"
