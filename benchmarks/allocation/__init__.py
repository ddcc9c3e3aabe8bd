"""How good and how fast the choice of widths is, on the shapes of known networks."""
