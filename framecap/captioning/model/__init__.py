"""The encoder-decoder in PyTorch: uint8 pictures in, features and word probabilities out (nothing else here needs torch)."""
