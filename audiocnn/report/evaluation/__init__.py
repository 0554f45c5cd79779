"""The report of an evaluation: its content, and the page section by section."""
