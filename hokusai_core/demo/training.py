"""A small real training: a network that learns handwritten digits, step by step."""

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

_SEED = 7
_BATCH = 256


class DigitsTraining:
    """Trains scikit-learn's ``MLPClassifier`` on its digits data set, one epoch at each step."""

    def __init__(self) -> None:
        datasets = importlib.import_module("sklearn.datasets")
        selection = importlib.import_module("sklearn.model_selection")
        network = importlib.import_module("sklearn.neural_network")
        images, labels = datasets.load_digits(return_X_y=True)
        split = selection.train_test_split(
            images / 16.0, labels, test_size=0.25, random_state=_SEED, stratify=labels
        )
        self._train_images, self.test_images, self._train_labels, self._test_labels = split
        self.hyperparameters: dict[str, object] = {
            "hidden_layer_sizes": (32,),
            "learning_rate_init": 0.002,
            "alpha": 1e-4,
            "batch_size": _BATCH,
            "random_state": _SEED,
        }
        self.model: Any = network.MLPClassifier(**self.hyperparameters)
        self._classes = sorted(set(labels.tolist()))

    def step(self) -> dict[str, float]:
        """Train for one epoch and measure."""
        self.model.partial_fit(self._train_images, self._train_labels, classes=self._classes)
        return {
            "loss": float(self.model.loss_),
            "train_accuracy": float(self.model.score(self._train_images, self._train_labels)),
            "test_accuracy": self.accuracy(),
        }

    def accuracy(self) -> float:
        """Give the share of the test images that are told right."""
        return float(self.model.score(self.test_images, self._test_labels))

    def predictions(self) -> list[int]:
        """Predict the digits of the test images."""
        return [int(digit) for digit in self.model.predict(self.test_images)]

    def confusion_matrix(self) -> list[list[int]]:
        """Count for each digit what it was taken for."""
        metrics = importlib.import_module("sklearn.metrics")
        matrix: list[list[int]] = metrics.confusion_matrix(
            self._test_labels, self.model.predict(self.test_images)
        ).tolist()
        return matrix

    def confusion_json(self) -> str:
        """Give the confusion matrix as JSON."""
        return json.dumps({"rows": "true digit", "counts": self.confusion_matrix()}, indent=1)

    def draw_confusion(self, path: Path) -> bool:
        """Draw the confusion matrix into a PNG file; False where matplotlib is missing."""
        if importlib.util.find_spec("matplotlib") is None:
            return False
        figure = importlib.import_module("matplotlib.figure").Figure(figsize=(4, 4))
        axes = figure.add_subplot()
        axes.imshow(self.confusion_matrix(), cmap="Blues")
        axes.set_xlabel("predicted digit")
        axes.set_ylabel("true digit")
        figure.savefig(path)
        return True
