"""Files kept whole: one process at a time, archives and downloads that go on, room on the disk."""
