"""Networks on microcontrollers: bytes, working memory, agreement of runtimes, accuracy."""
