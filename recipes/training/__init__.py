"""Training as the papers print it: batches, augmentation, losses, plans, the plain loop."""
