"""The second look: a stronger captioner captions again the frames that deserve it, within a budget."""
