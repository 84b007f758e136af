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
    """A bundle in its runtime, or another kind, as the configuration says. Raises ConfigError, BundleError, MissingError."""
    if config.runtime == "null":
        from framecap.captioning.runtimes.null import NullCaptioner

        return NullCaptioner()
    if config.kind == "openai":
        _need("kind openai", "openai", ("httpx2",))
        from framecap.captioning.openai_server import OpenAICaptioner

        return OpenAICaptioner(config)
    if config.kind == "transformers":
        _need("kind transformers", "transformers", ("torch", "torchvision", "transformers"))
        from framecap.captioning.transformers_model import TransformersCaptioner

        return TransformersCaptioner(config)
    from framecap.captioning.bundle import open_bundle
    from framecap.captioning.captioner import BundleCaptioner

    bundle = open_bundle(config.bundle)
    return BundleCaptioner(bundle, load_runtime(bundle, config), config)


def load_runtime(bundle: Bundle, config: CaptioningConfig) -> Runtime:
    """The runtime that the configuration asks for (not `null`: that one has no bundle)."""
    if config.runtime == "torch" or (config.runtime == "auto" and _cuda_is_there()):
        _need("runtime torch", "gpu", ("torch", "torchvision", "timm"))
        import torch

        from framecap.captioning.runtimes.pytorch import TorchRuntime

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return TorchRuntime(bundle, device, config.threads, config.precision)
    from framecap.captioning.runtimes.onnx import OnnxRuntime

    return OnnxRuntime(bundle, config.threads)


def _cuda_is_there() -> bool:
    if not any(Path(device).exists() for device in _CUDA_DEVICES) or find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def _need(what: str, extra: str, packages: tuple[str, ...]) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise MissingError(f"{what}: {', '.join(missing)} not installed: pip install 'framecap[{extra}]'")
