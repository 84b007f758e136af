"""How fast framecap is on this machine, every figure beside the bare captioner's."""
