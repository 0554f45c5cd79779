"""Figures about predictions whose labels are known: metrics, confidence intervals, calibration, comparisons."""
