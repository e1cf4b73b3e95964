"""Models of the package timm as backbones, where it is installed."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from supercm_ray.errors import StudyError, nearest

TIMM = "timm/"
"""What names of timm's models begin with in study files."""


def check_timm(name: str) -> None:
    """Checks that `timm/NAME` names a model of timm.

    Raises:
        StudyError: if it names none, or timm is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise StudyError(
            f"the package timm must be installed for model.name={name}, got none; install it with "
            "`pip install supercm-ray[timm]`, or take another backbone"
        ) from error
    if not timm.is_model(name.removeprefix(TIMM)):
        near = nearest(name, [f"{TIMM}{one}" for one in timm.list_models()])
        remedy = near if near.startswith("did you mean") else "`timm.list_models()` lists them"
        raise StudyError(f"`model.name` must be a model of timm after {TIMM}, got {name!r}; {remedy}")


def timm_image_size(name: str) -> int:
    """Returns the side in pixels of the images that the published weights of `timm/NAME` were evaluated on."""
    import timm

    config = timm.get_pretrained_cfg(name.removeprefix(TIMM))
    return int(config.input_size[-1]) if config is not None else 224


class TimmBackbone(nn.Module):
    """A model of timm without its classifier; the features are the classifier's input."""

    def __init__(self, name: str, *, pretrained: bool = False) -> None:
        """Creates the model with random weights.

        Args:
            name: `timm/` and timm's name of the model.
            pretrained: whether published weights are to be loaded into it; pixels are then standardised as for them.
        """
        import timm  # seconds of import, which only these models need

        super().__init__()
        self._name = name.removeprefix(TIMM)
        self.model: nn.Module = timm.create_model(self._name, pretrained=False, num_classes=0)
        published = timm.data.resolve_data_config({}, model=self.model)
        self.num_features = int(getattr(self.model, "head_hidden_size", None) or self.model.num_features)
        self.pixel_statistics = (published["mean"], published["std"]) if pretrained else None
        heads = self.model.default_cfg.get("classifier") or ()
        self.head_prefixes = tuple(f"{head}." for head in ((heads,) if isinstance(heads, str) else heads))

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, C, H, W) to features (B, D); an image of one channel is repeated for the three that these
        models take.
        """
        features: Tensor = self.model(images.expand(-1, 3, -1, -1))
        return features

    def published_weights(self) -> Mapping[str, object]:
        """Downloads the weights that timm publishes, unless they have been downloaded before."""
        import timm

        found: Mapping[str, object] = timm.create_model(self._name, pretrained=True, num_classes=0).state_dict()
        return found
