"""ESC-50 over its five folds: dense networks, small ones under three caps, records a fold."""
