"""Quality and speed of the choice of widths, on the shapes of known networks."""
