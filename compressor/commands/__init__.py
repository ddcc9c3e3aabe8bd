"""Commands, one a file: `HELP`, `arguments` and `run` over what a program calls, and no more."""
