"""Drawings: arrays in, SVG text out."""
