"""What was measured and is counted with elsewhere: one worker's figures, each with the command that printed it."""

from __future__ import annotations

# Frames a second of one worker on two cores of a cloud machine (Intel Xeon with AMX), bundled model, beam 5, local disk:
# the row "end to end" of `framecap bench --full`, the lower of two runs. Then: python -m benchmarks.scale_page
WORKER_RATE = 106.0

# Means of a frame (640x480, JPEG quality 90) and of its sidecar, in bytes: those of `framecap bench`.
FRAME_BYTES = 84_000
SIDECAR_BYTES = 1_600
