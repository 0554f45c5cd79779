"""Evaluation of predictions with known labels: metrics, confidence intervals, calibration, comparisons."""
