"""Tuning of event detection: soundscapes of held-out sounds in background, a sweep of thresholds, and its result."""
