"""A folder of C++ around a `.tflite` file: what a device runs, and what proves that it runs it."""
