"""Features: frames from samples, windows from frames, augmentation, and the feature store."""
