"""Anybody's `.tflite` file as plain data, and what TensorFlow Lite Micro will need to run it.

Pure reading: nothing in a file is run, every offset is checked, and a damaged or strange file is a
ValueError of one sentence. No package is needed.
"""
