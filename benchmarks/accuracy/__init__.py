"""What compression costs in accuracy, on real sound."""
