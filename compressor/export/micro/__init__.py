"""Networks of integers as programs for microcontrollers, and these as `.tflite` files."""
