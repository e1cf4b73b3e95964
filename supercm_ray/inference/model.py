"""A trained model that predicts. Shapes: N samples, D features, K classes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from supercm_ray.errors import StudyError
from supercm_ray.inference.card import ModelCard, read_card, write_card
from supercm_ray.inference.inputs import Inputs, as_dataset, batches, sample_names
from supercm_ray.inference.predictions import Floats, Predictions
from supercm_ray.models import Classifier, Predictor, build_classifier
from supercm_ray.records import write_atomically
from supercm_ray.training import deserialize_model

CARD, WEIGHTS = "model.json", "weights.pt"
"""The files of an exported model."""

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Model:
    """A trained model.

    Attributes:
        card: its description.
        network: the moving average of the trained network, in eval mode.
        centroids: (K, D) the centroids of the classes.
        seen: (K,) whether training has set the centroid of each class.
    """

    card: ModelCard
    network: Classifier
    centroids: Tensor
    seen: Tensor

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the K classes, by class index."""
        return self.card.class_names

    @property
    def num_features(self) -> int:
        """Number of features D."""
        return int(self.centroids.shape[1])

    @property
    def predictor(self) -> Predictor:
        """The network from inputs to class probabilities, for export."""
        return Predictor(self.network, l2_normalise=self.card.l2_normalise)

    def to(self, device: str | torch.device) -> Model:
        """Moves the model to a device, and returns it."""
        self.network.to(device)
        return replace(self, centroids=self.centroids.to(device), seen=self.seen.to(device))

    def predict(self, inputs: Inputs, *, batch_size: int = 256) -> Predictions:
        """Predicts the classes of samples.

        Args:
            inputs: paths of files or folders, read as the data set that the model was trained on; or uint8 images
                (N, H, W), (N, H, W, C) or (N, C, H, W), or vectors (N, D), as an array or a tensor.
            batch_size: number of samples that pass through the network at a time.

        Raises:
            StudyError: for inputs that cannot be read, or of another kind or shape than the model was trained on.
        """
        return Predictions.joined(list(self.predict_batches(inputs, batch_size=batch_size)))

    def embed(self, inputs: Inputs, *, batch_size: int = 256) -> Floats:
        """Returns the features (N, D) of samples; arguments and errors are those of `predict`."""
        return self.predict(inputs, batch_size=batch_size).features

    def predict_batches(
        self, inputs: Inputs, *, batch_size: int = 256, indices: npt.NDArray[np.int64] | None = None
    ) -> Iterator[Predictions]:
        """Yields the predictions of one batch after the other; arguments and errors are those of `predict`. With
        `indices`, those of these samples alone, in this order.
        """
        dataset = as_dataset(self.card, inputs)
        parts = torch.split(torch.as_tensor(np.arange(len(dataset.labels)) if indices is None else indices), batch_size)
        names = sample_names(dataset)
        for part, images in zip(parts, batches(self.card, dataset, parts, self.centroids.device), strict=True):
            with torch.no_grad():
                features, _, probabilities = self.network(images)
            distances = torch.cdist(features, self.centroids, compute_mode="donot_use_mm_for_euclid_dist")
            distances = distances.masked_fill(~self.seen, torch.nan)
            columns = (values.float().cpu().numpy() for values in (probabilities, distances, features))
            yield Predictions(self.class_names, tuple(names[i] for i in part.tolist()), *columns)

    def save(self, folder: str | Path) -> None:
        """Writes the model to a folder, as the files `model.json` and `weights.pt`, which load without pickle.

        Args:
            folder: the folder, which is created if there is none.
        """
        path, content = Path(folder), io.BytesIO()
        path.mkdir(parents=True, exist_ok=True)
        centroids = {"value": self.centroids.cpu(), "seen": self.seen.cpu()}
        network = {name: value.cpu() for name, value in self.network.state_dict().items()}
        torch.save({"network": network, "centroids": centroids}, content)
        write_atomically(path / WEIGHTS, content.getvalue())
        digest = hashlib.sha256(content.getvalue()).hexdigest()
        write_card(path / CARD, self.card.model_copy(update={"weights_sha256": digest}))


def of_checkpoint(card: ModelCard, content: bytes, place: str) -> Model:
    """Makes the model of a run from the content of its last checkpoint; `place` names it in messages.

    Raises:
        CheckpointError: for content that is damaged.
        StudyError: for one that does not fit the description.
    """
    network, centroids = deserialize_model(content, place)
    value = centroids["value"]
    seen = centroids["weight"] > 0 if "weight" in centroids else torch.ones(len(value), dtype=torch.bool)
    return _made(card, network, value, seen, place)


def of_folder(path: Path) -> Model:
    """Reads what `Model.save` wrote.

    Raises:
        StudyError: for files that are missing, damaged or of different models.
    """
    card = read_card(path / CARD)
    try:
        content = (path / WEIGHTS).read_bytes()
    except OSError as error:
        raise StudyError(
            f"a model's weights must be readable in {path / WEIGHTS}, got {error.strerror}; export it again"
        ) from error
    if hashlib.sha256(content).hexdigest() != card.weights_sha256:
        raise StudyError(
            f"the weights must be those that {path / CARD} was written for, got another content of {WEIGHTS}; copy "
            "both files again"
        )
    saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return _made(card, saved["network"], saved["centroids"]["value"], saved["centroids"]["seen"], str(path))


def _made(card: ModelCard, state: State, centroids: Tensor, seen: Tensor, place: str) -> Model:
    try:
        with torch.random.fork_rng(devices=[]):
            network = build_classifier(card.config, card.blank_dataset(), load=False)
        network.mean, network.std = state["mean"].clone(), state["std"].clone()
        network.load_state_dict(state)
    except (RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StudyError(
            f"the weights must fit the model that is described for {place}, got {reason}; take the version that "
            "trained it"
        ) from error
    return Model(card, network.requires_grad_(False).eval(), centroids, seen)
