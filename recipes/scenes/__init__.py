"""A challenge entry with a network of one's own: `python -m recipes.scenes --model net.py:Net`."""
