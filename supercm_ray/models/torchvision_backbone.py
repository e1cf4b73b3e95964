"""Classification models of torchvision as backbones."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from supercm_ray.errors import StudyError

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation by channel with which torchvision's weights expect pixels to be standardised."""


def torchvision_names() -> list[str]:
    """Returns the names of torchvision's classification models."""
    import torchvision.models  # seconds of import, which only these models need

    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def torchvision_image_size(name: str) -> int:
    """Returns the side in pixels of the images that a model's published weights were evaluated on."""
    import torchvision.models

    return int(torchvision.models.get_model_weights(name).DEFAULT.transforms.keywords["crop_size"])


_AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
"""Models with auxiliary outputs, which are left out, and the prefixes of the names of their weights."""


class TorchvisionBackbone(nn.Module):
    """A model of torchvision without its last layer (linear or, in squeezenet, a convolution); the features are that
    layer's input. Auxiliary outputs of googlenet and inception_v3 are left out; inception_v3 takes images of at least
    75 pixels a side.
    """

    def __init__(self, name: str, *, pretrained: bool = False) -> None:
        """Creates the model with random weights.

        Args:
            name: torchvision's name of the model.
            pretrained: whether weights that were trained on ImageNet are to be loaded into it.

        Raises:
            StudyError: for a model that ends in another kind of layer.
        """
        import torchvision.models

        super().__init__()
        options: dict[str, bool] = {}
        if name in _AUXILIARY:  # whose published weights were trained on pixels that the model itself transforms
            options = {"aux_logits": False, "init_weights": True, "transform_input": pretrained}
        self.model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
        head, self.num_features = _take_off_head(self.model, name)
        self.head_prefixes = (f"{head}.", *_AUXILIARY.get(name, ()))
        self.pixel_statistics = _IMAGENET if pretrained else None
        self._name = name

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, C, H, W) to features (B, D); an image of one channel is repeated for the three that these
        models take.
        """
        features: Tensor = self.model(images.expand(-1, 3, -1, -1))
        return features

    def published_weights(self) -> Mapping[str, object]:
        """Downloads the weights that torchvision publishes, unless they have been downloaded before."""
        import torchvision.models

        weights = torchvision.models.get_model_weights(self._name).DEFAULT
        found: Mapping[str, object] = weights.get_state_dict(progress=False)
        return found


def _take_off_head(model: nn.Module, name: str) -> tuple[str, int]:
    """Replaces the last layer by the identity, and returns its path and its number of inputs."""
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
    return path, int(head.in_features if isinstance(head, nn.Linear) else head.in_channels)
