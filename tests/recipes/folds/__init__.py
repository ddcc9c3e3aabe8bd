"""Five folds of ESC-50."""
