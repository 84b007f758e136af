"""How fast framecap is on this machine: a configuration in, figures beside what the machine and the bare model do out."""

PARTS = ("machine", "captioner", "pipeline", "naive", "latency", "growth", "near-duplicates", "start")
FRAMES, RUNS = 500, 3  # by default, and what the marks need at least
