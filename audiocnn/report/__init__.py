"""The HTML pages: evaluation, explanation, sweep, event tuning, augmentation preview."""
