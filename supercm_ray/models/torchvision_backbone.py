"""Classification models of torchvision as backbones, with weights from a local file where one is given."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from supercm_ray.errors import StudyError


def torchvision_names() -> list[str]:
    """The names of torchvision's classification models."""
    import torchvision.models  # seconds of import, which only these models need

    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


class TorchvisionBackbone(nn.Module):
    """A model of torchvision without its last linear layer, whose input are the features."""

    def __init__(self, name: str, weights: str | None) -> None:
        """Args: the model's name and the file of its `state_dict`, or None for random weights.

        Raises:
            StudyError: for a model that does not end in a linear layer, and for weights that do not fit.
        """
        import torchvision.models

        super().__init__()
        self.model: nn.Module = torchvision.models.get_model(name, weights=None)
        if weights is not None:
            _load_weights(self.model, name, Path(weights).expanduser())
        last = [path for path, module in self.model.named_modules() if isinstance(module, nn.Linear)]
        if not last or getattr(self.model, "aux_logits", False):
            raise StudyError(
                f"`model.name` must be a model with one output that ends in a linear layer, got {name!r}; "
                "take another, such as resnet18"
            )
        head = self.model.get_submodule(last[-1])
        assert isinstance(head, nn.Linear)
        self.num_features = head.in_features
        self.model.set_submodule(last[-1], nn.Identity())

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D); an image of one channel is repeated for the three that these models take."""
        features: Tensor = self.model(images.expand(-1, 3, -1, -1))
        return features


def _load_weights(model: nn.Module, name: str, path: Path) -> None:
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(saved)
    except (OSError, RuntimeError, pickle.UnpicklingError, TypeError, EOFError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StudyError(
            f"`model.weights` must be a file with the state_dict of torchvision's {name}, got {str(path)!r}: {reason}"
        ) from error
