"""Files of predictions: CSV, JSON, Raven, Audacity and Parquet, written in pieces and read back."""
