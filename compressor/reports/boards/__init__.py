"""Does a file fit a board? Flash, RAM and clock of common microcontrollers, held against a file."""
