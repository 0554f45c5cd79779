"""The report of an evaluation: its content, and one module for each kind of section."""
