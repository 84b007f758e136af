"""The encoder-decoder in PyTorch: uint8 images in, features and word probabilities out (nothing else here needs torch)."""
