"""Models that belong to a token: registered with the benchmark that they have to beat."""

import json
import math
import numbers
from collections.abc import Mapping
from typing import Any

from hokusai_core import model_tags, validation
from hokusai_core.entities import ModelVersion
from hokusai_core.errors import InvalidInputError, ModelNotFoundError
from hokusai_core.model_ids import alone_with
from hokusai_core.operations import LogBatch
from hokusai_core.queries import VersionQuery
from hokusai_core.registration_events import RegistrationEvent
from hokusai_core.registrations import ModelRegistrations

_PROPOSAL_NAMES = ("proposal_identifier", "proposal_ticker", "canonical_identifier", "ticker")
_METADATA_CHARACTERS = 500
_REGISTERED = "registered"
EVALUATION_TAGS = {
    "eval_spec": "hokusai.eval_spec",
    "scorer_ref": "hokusai.scorer_ref",
    "primary_metric": "hokusai.primary_metric",
    "benchmark_spec_id": "hokusai.benchmark_spec_id",
}
"""The arguments that say how a model is evaluated, and their tags on version and run."""


class TokenizedModels(ModelRegistrations):
    """The part of the registry that knows tokens."""

    def register_tokenized_model(
        self,
        model_uri: str,
        model_name: str,
        token_id: str,
        metric_name: str,
        baseline_value: float,
        additional_tags: Mapping[str, Any] | None = None,
        *,
        eval_spec: str | None = None,
        scorer_ref: str | None = None,
        primary_metric: str | None = None,
        benchmark_spec_id: str | None = None,
        api_schema: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Register a model for a token.

        Args:
            model_uri: Such as ``runs:/run_id/path``.
            model_name: The registered model.
            token_id: Letters, digits and inner hyphens, at most 64; stored in capitals.
            metric_name: Of the benchmark.
            baseline_value: What the metric is now; a finite number.
            additional_tags: More tags of the version. They win over the tags that the arguments
                above make, and lose to those of the arguments below. The proposal's identifier is
                the first of ``proposal_identifier``, ``proposal_ticker``, ``canonical_identifier``
                and ``ticker`` among them, else the token.
            eval_spec: How the model is evaluated; at most 500 characters, as the next three. They
                are tags of the run, too.
            scorer_ref: What computes the scores.
            primary_metric: What decides.
            benchmark_spec_id: Which benchmark.
            api_schema: What the model takes and gives, as JSON; for the registration event only.

        Returns:
            ``model_name``, ``version`` ("" while it waits), ``token_id``, ``token_identifier``,
            ``proposal_identifier``, ``metric_name``, ``baseline_value``, ``mlflow_run_id``,
            ``status``, ``tags``, the four of the evaluation, ``registry_version`` (the provisional
            id while it waits), ``sync_state``, and ``registration_event``: what became of the
            event (``state``, ``op_id``, ``error``).

        Raises:
            InvalidInputError: Something is missing or wrong. Nothing was registered. That the run of a
                ``runs:/`` URI exists is not checked.
        """
        uri, name, metric = _required(model_uri, model_name, token_id, metric_name)
        token = model_tags.normalize_token_id(token_id)
        value = _baseline(baseline_value)
        more = validation.registry_tags(additional_tags)
        evaluation = {
            argument: _metadata(given, argument)
            for argument, given in (
                ("eval_spec", eval_spec),
                ("scorer_ref", scorer_ref),
                ("primary_metric", primary_metric),
                ("benchmark_spec_id", benchmark_spec_id),
            )
            if given is not None
        }
        schema = None if api_schema is None else _json_value(api_schema, "api_schema")
        evaluation_tags = {EVALUATION_TAGS[key]: text for key, text in evaluation.items()}
        proposal = next((more[key] for key in _PROPOSAL_NAMES if more.get(key)), token)
        source = self._sources.locate(uri, name, {})
        base = {
            model_tags.TOKEN_ID: token,
            model_tags.METRIC: metric,
            model_tags.BASELINE_VALUE: str(value),
            model_tags.STATUS: _REGISTERED,
            model_tags.PROPOSAL: proposal,
        }
        if source.run_id:
            base[model_tags.RUN_ID] = source.run_id
        tags = base | more | evaluation_tags
        model_tags.validate_hokusai_tags(tags)
        tags[model_tags.TOKEN_ID] = model_tags.normalize_token_id(tags[model_tags.TOKEN_ID])
        with alone_with(self.runtime, tags.get(model_tags.MODEL_ID, "")):
            if source.run_id and evaluation_tags:
                self.runtime.router.write(LogBatch(run_id=source.run_id, tags=evaluation_tags))
            made = self._create_version(
                name,
                source,
                tags,
                f"Token: {token_id}, Metric: {metric}",
                f"Hokusai tokenized model: {token_id}",
            )
        arguments = {
            "token_id": token,
            "token_identifier": token,
            "proposal_identifier": proposal,
            "metric_name": metric,
            "baseline_value": value,
        }
        event = self.runtime.registration_events.announce(
            made,
            token_id=token,
            proposal_identifier=proposal,
            metric_name=metric,
            baseline_value=value,
            mlflow_run_id=tags.get(model_tags.RUN_ID),
            api_schema=schema,
            **evaluation,
        )
        described = _described(made.model_copy(update={"tags": tags})) | arguments
        return described | {"registration_event": event.model_dump()}

    def get_tokenized_model(self, model_name: str, version: str | int) -> dict[str, Any]:
        """Get a token's model; the keys are those of :meth:`register_tokenized_model`.

        Args:
            model_name: The registered model.
            version: A number, or the provisional id of a waiting version.

        Raises:
            ModelNotFoundError: There is no such version, or it is no tokenized model.
        """
        found = self.get_model_version(model_name, version)
        if not _is_tokenized(found):
            wanted = ", ".join(model_tags.REQUIRED_TOKEN_TAGS)
            raise ModelNotFoundError(
                f"Version {found.version} of {found.name!r} is no tokenized model: it lacks one of "
                f"the tags {wanted}, or one is wrong."
            )
        return _described(found)

    def send_registration_event(self, model_name: str, version: str | int) -> RegistrationEvent:
        """Send the registration event of a delivered version, also where it was sent before.

        It is made anew from the version's tags, so without an ``api_schema``. The endpoint knows
        by its ``Idempotency-Key`` what it has had.

        Args:
            model_name: The registered model.
            version: Its number.

        Returns:
            ``delivered``; ``pending`` or ``failed`` with the ``error``; ``off`` without an endpoint.

        Raises:
            ModelNotFoundError: There is no such version, or it is no tokenized model.
        """
        found = self.get_model_version(model_name, version)
        fields = self.get_tokenized_model(model_name, version)
        given = {argument: fields[argument] for argument in EVALUATION_TAGS if fields[argument]}
        return self.runtime.registration_events.announce(
            found,
            token_id=fields["token_id"],
            proposal_identifier=fields["proposal_identifier"],
            metric_name=fields["metric_name"],
            baseline_value=fields["baseline_value"],
            mlflow_run_id=fields["mlflow_run_id"],
            **given,
        )

    def list_models_by_token(self, token_id: str) -> list[dict[str, Any]]:
        """List all models of a token, newest first; the case of its letters does not matter.

        Raises:
            InvalidInputError: It is no token id.
            TransientError: The primary is away, and no model of the token is known without it.
        """
        token = model_tags.normalize_token_id(token_id)
        query = VersionQuery(folded_tags={model_tags.TOKEN_ID: token})
        found = self.runtime.registry.all_versions(query)
        return [_described(version) for version in found if _is_tokenized(version)]

    def validate_token_id(self, token_id: str) -> None:
        """Check a token id.

        Raises:
            InvalidInputError: It is none.
        """
        model_tags.validate_token_id(token_id)

    def normalize_token_id(self, token_id: str) -> str:
        """Give a token id in capitals, as it is stored; raises as :meth:`validate_token_id`."""
        return model_tags.normalize_token_id(token_id)

    def validate_hokusai_tags(self, tags: Mapping[str, str]) -> None:
        """Check that tags make a version a tokenized model.

        Raises:
            InvalidTagsError: One of the required tags is missing or wrong.
        """
        model_tags.validate_hokusai_tags(tags)


def _required(*values: Any) -> tuple[str, str, str]:
    if any(not value for value in values):
        raise InvalidInputError(
            "All parameters are required: model_uri, model_name, token_id and metric_name."
        )
    uri, name, _, metric = values
    return (
        validation.text(uri, "model_uri", empty=False),
        validation.model_name(name),
        validation.text(metric, "metric_name", empty=False, limit=_METADATA_CHARACTERS),
    )


def _baseline(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidInputError(
            f"baseline_value must be numeric, not {type(value).__name__} (all parameters are "
            "required)."
        )
    try:
        number = value if isinstance(value, int) else float(value)
        finite = math.isfinite(number)
    except OverflowError:
        finite = False
    if not finite:
        raise InvalidInputError("baseline_value must be a finite number, neither NaN nor infinite.")
    return number


def _json_value(value: Any, name: str) -> Any:
    def refuse(constant: str) -> None:
        raise InvalidInputError(f"{name} holds {constant}, which JSON cannot say.")

    return json.loads(model_tags.json_tag(value, name), parse_constant=refuse)


def _metadata(value: Any, name: str) -> str:
    return validation.text(value, name, limit=_METADATA_CHARACTERS, empty=False)


def _is_tokenized(version: ModelVersion) -> bool:
    tags = version.tags
    return (
        all(tags.get(name) for name in model_tags.REQUIRED_TOKEN_TAGS)
        and model_tags.baseline_value_of(tags) is not None
    )


def _described(version: ModelVersion) -> dict[str, Any]:
    tags = version.tags
    token = tags[model_tags.TOKEN_ID].upper()
    return {
        "model_name": version.name,
        "version": version.version if version.version.isdigit() else "",
        "token_id": token,
        "token_identifier": token,
        "proposal_identifier": tags.get(model_tags.PROPOSAL) or token,
        "metric_name": tags[model_tags.METRIC],
        "baseline_value": model_tags.baseline_value_of(tags),
        "mlflow_run_id": tags.get(model_tags.RUN_ID) or version.run_id,
        "status": tags.get(model_tags.STATUS, ""),
        "tags": dict(tags),
        **{argument: tags.get(tag) for argument, tag in EVALUATION_TAGS.items()},
        "registry_version": version.version,
        "sync_state": version.sync_state,
    }
