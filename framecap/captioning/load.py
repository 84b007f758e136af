"""The captioning section of the configuration in, a captioner ready to work out."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from framecap.captioning.caption import Captioner
from framecap.config import CaptioningConfig
from framecap.errors import MissingError

if TYPE_CHECKING:
    from framecap.captioning.bundle import Bundle
    from framecap.captioning.captioner import Runtime

_CUDA_DEVICES = ("/dev/nvidiactl", "/dev/dxg")  # a look costs nothing; importing torch to ask takes seconds


def load_captioner(config: CaptioningConfig) -> Captioner:
    """Open the bundle, load it into its runtime. Raises BundleError or MissingError."""
    if config.runtime == "null":
        from framecap.captioning.runtimes.null import NullCaptioner

        return NullCaptioner()
    from framecap.captioning.bundle import open_bundle
    from framecap.captioning.captioner import BundleCaptioner

    bundle = open_bundle(config.bundle)
    return BundleCaptioner(bundle, load_runtime(bundle, config), config)


def load_runtime(bundle: Bundle, config: CaptioningConfig) -> Runtime:
    """The runtime that the configuration asks for (not `null`: that one has no bundle)."""
    if config.runtime == "torch" or (config.runtime == "auto" and _cuda_is_there()):
        _need_torch()
        import torch

        from framecap.captioning.runtimes.pytorch import TorchRuntime

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return TorchRuntime(bundle, device, config.threads)
    from framecap.captioning.runtimes.onnx import OnnxRuntime

    return OnnxRuntime(bundle, config.threads)


def _cuda_is_there() -> bool:
    if not any(Path(device).exists() for device in _CUDA_DEVICES) or find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def _need_torch() -> None:
    missing = [package for package in ("torch", "torchvision", "timm") if find_spec(package) is None]
    if missing:
        raise MissingError(f"runtime torch: {', '.join(missing)} not installed: pip install 'framecap[gpu]'")
