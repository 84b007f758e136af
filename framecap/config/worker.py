"""The schema of config.yaml's section worker: how frames go through a worker."""

from __future__ import annotations

from pydantic import Field

from framecap.config.fields import PositiveSeconds, Section

_BATCHES_IN_FLIGHT = 3  # besides those that are captioned: one is filled, one is committed, one is on its way


class NearDuplicatesConfig(Section):
    """Frames that look like their camera's last captioned one get its caption, without the model."""

    enabled: bool = False
    distance: int = Field(3, ge=0, le=64, description="bits in which the two 64-bit perceptual hashes may differ")
    heartbeat_seconds: PositiveSeconds = Field(60.0, description="caption one at least so often all the same")


class SteadyCaptionsConfig(Section):
    """A camera's last caption is kept as long as it is nearly as probable for a frame as the frame's own."""

    enabled: bool = False
    margin: float = Field(0.1, ge=0, le=10, description="by how much its mean log-probability may be below the own one's")


class WorkerConfig(Section):
    """framecap work."""

    decoders: int = Field(0, ge=0, le=64, description="decoder processes; 0: as many as cores")
    decode_timeout_seconds: PositiveSeconds = 10.0
    max_pixels: int = Field(100_000_000, ge=1, le=1 << 40, description="larger images are refused from their header")
    max_bytes: int = Field(100_000_000, ge=1, description="larger files are refused")
    batch_size: int = Field(0, ge=0, le=1024, description="0: as suits the runtime: 16 frames on a CPU, 256 on a GPU")
    batch_wait_ms: float = Field(20.0, ge=0, le=10_000, description="how long a batch waits for more frames")
    queue: int = Field(0, ge=0, le=10_000, description="frames between lease and commit; 0: four batches (six on a GPU)")
    attempts: int = Field(3, ge=1, le=100, description="tries of a frame before it is failed, where a retry can help")
    grace_seconds: PositiveSeconds = Field(30.0, description="after SIGTERM, for what is in flight")
    near_duplicates: NearDuplicatesConfig = NearDuplicatesConfig()
    steady_captions: SteadyCaptionsConfig = SteadyCaptionsConfig()

    def filled_in(self, batch_size: int, lanes: int) -> WorkerConfig:
        """With the sizes that are left to the captioner, whose best batch and number of batches at a time are given."""
        size = self.batch_size or batch_size
        return self.model_copy(update={"batch_size": size, "queue": self.queue or (lanes + _BATCHES_IN_FLIGHT) * size})
