"""One way to draw a spectrogram, a curve, a matrix: arrays in, SVG text out."""
