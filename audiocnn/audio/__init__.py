"""Sound files: what they are, their samples in blocks, and doing that where a broken one can do no harm."""
