"""Submissions to the challenges: the files of each year's form, checked."""
