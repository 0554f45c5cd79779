"""A network, from the notation that names it to the scores of a window."""
