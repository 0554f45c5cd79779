"""Data sets: manifests, annotations, splits, a survey of the recordings, and synthetic data."""
