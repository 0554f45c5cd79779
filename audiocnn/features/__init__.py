"""Samples to frames, frames to windows, and the store that keeps them."""
