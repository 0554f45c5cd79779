"""Colours: a table for pictures, and paints for lines and areas that follow the page they stand on."""

import numpy as np
from numpy.typing import NDArray

# Paints are CSS variables of the page with a fallback, so that a drawing also stands alone on white paper. Blue and
# orange are told apart under every common form of colour blindness (Wong, "Color blindness", Nature Methods 8, 2011).
INK = "currentColor"
PAPER = "var(--paper, #fff)"
MUTED = "var(--muted, #5d5a55)"
RULE = "var(--rule, #dedad3)"
BLUE = "var(--blue, #1f6aa8)"  # truth, and what is right
ORANGE = "var(--orange, #b5530c)"  # what the model said instead

# Lines that are compared. In their order neighbours differ in lightness as well as in hue; after eight the same come
# again, dashed. The page has lighter ones for the dark.
SERIES = tuple(
    f"var(--series-{i}, {paint})"
    for i, paint in enumerate(
        ("#1f6aa8", "#b5530c", "#00755a", "#a8327a", "#6353c8", "#7d6200", "#007792", "#b03030"), start=1
    )
)

# Matt Zucker's polynomial of degree 6 (https://www.shadertoy.com/view/WlfXRN, CC0) for matplotlib's magma by Nathaniel
# Smith and Stefan van der Walt: even steps of perceived lightness from black to near white, safe for the colour-blind.
# It is within 0.02 of the original table. Rows are powers of the position 0..1, columns red, green and blue.
_MAGMA = np.array(
    [
        [-0.002136485053939582, -0.000749655052795221, -0.005386127855323933],
        [0.2516605407371642, 0.6775232436837668, 2.494026599312351],
        [8.353717279216625, -3.577719514958484, 0.3144679030132573],
        [-27.66873308576866, 14.26473078096533, -13.64921318813922],
        [52.17613981234068, -27.94360607168351, 12.94416944238394],
        [-50.76852536473588, 29.04658282127291, 4.23415299384598],
        [18.65570506591883, -11.48977351997711, -5.601961508734096],
    ]
)


def table(n: int) -> NDArray[np.uint8]:
    """Return ``n`` colours as sRGB (n, 3), from the lowest value (black) to the highest.

    >>> table(3).tolist()
    [[0, 0, 0], [183, 53, 119], [254, 249, 186]]
    """
    powers = np.linspace(0, 1, n)[:, None] ** np.arange(len(_MAGMA))
    return np.asarray(np.round(255 * np.clip(powers @ _MAGMA, 0, 1)), np.uint8)


# Of a heat map over a picture in grey, which is as dark as `greys`: both are lighter than it and told apart under every
# common form of colour blindness.
FOR, AGAINST = (255, 166, 64), (92, 184, 255)


def greys(n: int) -> NDArray[np.uint8]:
    """Return ``n`` greys as sRGB (n, 3), in the order of `table`, the lightest not so light as to drown a colour.

    >>> greys(3).tolist()
    [[0, 0, 0], [80, 80, 80], [160, 160, 160]]
    """
    return np.repeat(np.linspace(0, 160, n).round().astype(np.uint8)[:, None], 3, axis=1)


def heat(shares: NDArray[np.floating], *, opaque: float = 1.0) -> NDArray[np.uint8]:
    """Return the colours RGBA (..., 4) of shares (...) from -1 to 1: clear at 0, ``opaque`` (0..1) at both ends.

    >>> heat(np.array([-1.0, 0.0, 0.5])).tolist()
    [[92, 184, 255, 255], [255, 166, 64, 0], [255, 166, 64, 128]]
    """
    shares = np.clip(np.asarray(shares, np.float64), -1, 1)
    paint = np.where(shares[..., None] < 0, np.array(AGAINST), np.array(FOR))
    alpha = np.round(255 * opaque * np.abs(shares))[..., None]
    return np.concatenate([paint, alpha], axis=-1).astype(np.uint8)
