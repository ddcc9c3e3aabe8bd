"""int8: quantisation-aware training, the integer reference, and what runtimes need of both."""
