"""Generated scenes in the layout of the TAU data sets, for runs without data."""
