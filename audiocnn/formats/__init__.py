"""Predictions as files: CSV, JSON, Raven, Audacity and Parquet, written piece by piece and read back."""
