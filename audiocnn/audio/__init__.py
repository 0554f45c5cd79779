"""Reading and writing audio: sources, decoding in blocks, clips, and worker processes that survive broken files."""
