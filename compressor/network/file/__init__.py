"""A network as one small file, and the guard that reads files of strangers."""
