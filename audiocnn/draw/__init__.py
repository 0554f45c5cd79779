"""One way to draw each kind of picture, a spectrogram, a curve, a matrix: arrays in, SVG text out."""
