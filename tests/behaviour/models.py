"""Model objects as existing Hokusai code has them."""


class MetadataModel:
    """Tells its id, its version and its metrics, and holds no model."""

    def __init__(self, model_id: str, version: str = "2.1.0", **metrics: float) -> None:
        self.model_id = model_id
        self.version = version
        self._metrics = metrics or {"accuracy": 0.9}

    def get_metrics(self) -> dict[str, float]:
        return dict(self._metrics)
