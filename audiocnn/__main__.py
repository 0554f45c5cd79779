"""``python -m audiocnn`` is the same command as ``audiocnn``."""

from audiocnn.cli import main

if __name__ == "__main__":
    main()
