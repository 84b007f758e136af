"""What executes a bundle: ONNX Runtime, PyTorch, or nothing at all."""
