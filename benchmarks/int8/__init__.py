"""Networks of integers as files: bytes, kernels, parity and time, beside torchao."""
