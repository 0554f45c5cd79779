"""From a project's features to networks that have learned from them: what all commands that train have in common."""
