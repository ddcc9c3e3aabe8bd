"""Speed of compression and training, beside others' programs."""
