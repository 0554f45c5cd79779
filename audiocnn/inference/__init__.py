"""From files, arrays or a microphone to predictions: scores of windows and recordings, events, the journal."""
