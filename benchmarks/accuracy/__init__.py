"""Cost of compression in accuracy, on real sound."""
