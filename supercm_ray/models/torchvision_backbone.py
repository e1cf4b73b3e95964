"""Classification models of torchvision as backbones, with weights from a local file or random ones."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from supercm_ray.config import OptionsModel
from supercm_ray.errors import StudyError

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation by channel with which torchvision's weights expect pixels to be standardised."""


class WeightsOptions(OptionsModel):
    """Options of torchvision's models."""

    weights: str | None = None
    """Path of a local file with the model's `state_dict`; pixels are then standardised as for ImageNet. None: random
    weights."""


def torchvision_names() -> list[str]:
    """Returns the names of torchvision's classification models."""
    import torchvision.models  # seconds of import, which only these models need

    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


_AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
"""Models with auxiliary outputs, which are left out, and the prefixes of the names of their weights."""


class TorchvisionBackbone(nn.Module):
    """A model of torchvision without its last layer (linear or, in squeezenet, a convolution); the features are that
    layer's input. Auxiliary outputs of googlenet and inception_v3 are left out; inception_v3 takes images of at least
    75 pixels a side.
    """

    def __init__(self, name: str, weights: str | None) -> None:
        """Creates the model.

        Args:
            name: torchvision's name of the model.
            weights: the file of its `state_dict`, or None for random weights.

        Raises:
            StudyError: for a model that ends in another kind of layer, and for weights that do not fit.
        """
        import torchvision.models

        super().__init__()
        options: dict[str, bool] = {}
        if name in _AUXILIARY:  # whose published weights were trained on pixels that the model itself transforms
            options = {"aux_logits": False, "init_weights": True, "transform_input": weights is not None}
        self.model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
        if weights is not None:
            _load_weights(self.model, name, Path(weights).expanduser())
        self.num_features = _take_off_head(self.model, name)
        self.pixel_statistics = None if weights is None else _IMAGENET

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, C, H, W) to features (B, D); an image of one channel is repeated for the three that these
        models take.
        """
        features: Tensor = self.model(images.expand(-1, 3, -1, -1))
        return features


def _take_off_head(model: nn.Module, name: str) -> int:
    """Replaces the last layer by the identity, and returns its number of inputs."""
    layers = dict(model.named_modules())
    linear = [path for path, layer in layers.items() if isinstance(layer, nn.Linear)]
    convolution = [
        path for path, layer in layers.items() if path.startswith("classifier.") and isinstance(layer, nn.Conv2d)
    ]
    if not linear and not convolution:
        raise StudyError(
            f"`model.name` must be a model that ends in a linear layer or a classifying convolution, got {name!r}; "
            "take another, such as resnet18"
        )
    path = (linear or convolution)[-1]
    head = layers[path]
    model.set_submodule(path, nn.Identity())
    return int(head.in_features if isinstance(head, nn.Linear) else head.in_channels)


def _load_weights(model: nn.Module, name: str, path: Path) -> None:
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        for key in [key for key in saved if key.startswith(_AUXILIARY.get(name, ()))]:
            del saved[key]
        model.load_state_dict(saved)
    except (OSError, RuntimeError, pickle.UnpicklingError, TypeError, EOFError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StudyError(
            f"`model.options.weights` must be a file with the state_dict of torchvision's {name}, got {str(path)!r}: "
            f"{reason}"
        ) from error
