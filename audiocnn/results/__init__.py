"""What a model said: scores of windows and recordings, figures about them, and the files they are written to."""
