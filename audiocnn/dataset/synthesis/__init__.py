"""Two small corpora made from nothing but a seed, for a demonstration that needs no download.

`instruments` is ten instruments by several players, `rotors` is a rotor against the sounds of outdoors; `write`
makes a folder of sound files with a manifest of either.
"""

from audiocnn.dataset.synthesis.corpus import Clip, instruments, rotors, write

__all__ = ["Clip", "instruments", "rotors", "write"]
