"""A structure made real, and compared with its masked original."""
