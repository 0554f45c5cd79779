"""Choosing when windows are an event: held-out sounds in background, thresholds tried, the chosen point measured."""
