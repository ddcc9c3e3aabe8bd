"""Repair in closed form: what is left learns, by least squares, to say what the whole said."""
