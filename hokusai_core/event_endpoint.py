"""Where registration events are sent to."""

from hokusai_core.clock import Deadline
from hokusai_core.endpoint import Endpoint
from hokusai_core.entities import Receipt
from hokusai_core.errors import NotFoundError, UnavailableError
from hokusai_core.event_operations import AnnounceRegistration
from hokusai_core.settings import Settings

_PATH = "/api/models/tokenized-registration-events"


class EventEndpoint:
    """The endpoint of ``HOKUSAI_EVENTS_ENDPOINT``.

    Args:
        settings: Its address (with or without ``/api`` at the end), and the key, if there is one.
    """

    def __init__(self, settings: Settings) -> None:
        address = settings.events_endpoint.rstrip("/").removesuffix("/api")
        self._endpoint = Endpoint(settings, address) if address else None

    def send(self, operation: AnnounceRegistration, deadline: Deadline) -> Receipt:
        """Send an event. A repeat is harmless: it carries the same ``Idempotency-Key``.

        Raises:
            TransientError: No usable answer came by the deadline, or no endpoint is configured.
            PermanentError: The endpoint refuses the event, or the key.
        """
        if self._endpoint is None:
            raise UnavailableError(
                "No endpoint for registration events is configured here. Set "
                "HOKUSAI_EVENTS_ENDPOINT where events are delivered, too."
            )
        try:
            self._endpoint.post(
                _PATH, operation.payload, {"Idempotency-Key": operation.op_id}, deadline
            )
        except NotFoundError as missing:
            # A load balancer's answer while the service is away; nobody refuses this event.
            raise UnavailableError(f"{missing} Check HOKUSAI_EVENTS_ENDPOINT.") from missing
        return Receipt()
