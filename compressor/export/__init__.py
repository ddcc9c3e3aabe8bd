"""Files for other runtimes: ONNX and ExecuTorch, with a front end if wanted."""
