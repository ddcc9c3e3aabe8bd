"""A compression under way: training, widths, the bound on the file, checkpoints."""
