"""Entry point of ``python -m audiocnn``, the same command as ``audiocnn``."""

from audiocnn.cli import main

if __name__ == "__main__":
    main()
