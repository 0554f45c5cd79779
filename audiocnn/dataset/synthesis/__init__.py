"""Two small synthetic corpora, made from a seed alone, for a demonstration that needs no download.

`instrument_clips` yields ten instruments by several players. `rotor_clips` yields outdoor sounds with and without the
rotors of a drone. `write` writes either as a folder of audio files with a manifest.
"""

from audiocnn.dataset.synthesis.corpus import Clip, instrument_clips, rotor_clips, write

__all__ = ["Clip", "instrument_clips", "rotor_clips", "write"]
