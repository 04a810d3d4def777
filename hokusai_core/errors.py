"""Every error that Hokusai raises.

::

    HokusaiError
    ├── ConfigurationError (ValueError)      a setting or an argument of a constructor is wrong
    │   ├── BackendNotFoundError             no installed plugin has that name
    │   ├── BackendNotInstalledError         the plugin is there, its extra is not
    │   └── BackendBrokenError               the plugin fails to import, or breaks the contract
    ├── InvalidInputError (ValueError)       the caller's value; nothing was written
    │   ├── InvalidTagsError (RegistryException) the tags of a tokenized model
    │   ├── UnsupportedFilterError           a filter outside the documented subset, in an outage
    │   └── StillNeededError                 others depend on what should be discarded
    ├── RegistryException                    base of registry errors (the name existing code catches)
    │   ├── BackendError                     a backend could not, or would not, do it
    │   │   ├── MLflowConnectionError        no usable answer (the name existing code catches)
    │   │   ├── MLflowAuthenticationError    credentials (the name existing code catches)
    │   │   ├── TransientError               may work later: falls back, is queued, is tried again
    │   │   │   ├── UnavailableError (MLflowConnectionError)    no usable answer came
    │   │   │   ├── RateLimitedError (MLflowConnectionError)    asked to come back later
    │   │   │   ├── CircuitOpenError (MLflowConnectionError)    not asked: away a moment ago
    │   │   │   └── CredentialsRejectedError (MLflowAuthenticationError)
    │   │   │                                401 or 403 after these credentials had worked
    │   │   └── PermanentError               will not work later: raised, or a dead letter
    │   │       ├── NotFoundError            the thing does not exist
    │   │       │   └── ModelNotFoundError   a registered model, version or alias
    │   │       ├── AlreadyExistsError       a thing with that name exists
    │   │       ├── ConflictError            contradicts what is stored (a param changed)
    │   │       ├── RejectedError            the server refuses the request as it is
    │   │       ├── AuthenticationError (MLflowAuthenticationError)    missing or wrong
    │   │       └── PermissionDeniedError (MLflowAuthenticationError)  not allowed to
    │   └── NotStoredError                   primary, journal and spool all failed: nothing was kept
    ├── JournalUnavailableError              the journal cannot be reached
    ├── JournalBusyError                     workers hold what should be changed
    ├── LeaseLostError                       another worker holds the stream now
    ├── NotDeliveredError                    waiting ended before the record reached the primary
    └── DeadLetterError                      the primary refused a queued record for good

Transient or permanent is a property of the class; nothing in Hokusai looks at message texts.
"""

__all__ = [
    "AlreadyExistsError",
    "AuthenticationError",
    "BackendBrokenError",
    "BackendError",
    "BackendNotFoundError",
    "BackendNotInstalledError",
    "CircuitOpenError",
    "ConfigurationError",
    "ConflictError",
    "CredentialsRejectedError",
    "DeadLetterError",
    "HokusaiError",
    "HokusaiException",
    "InvalidInputError",
    "InvalidTagsError",
    "JournalBusyError",
    "JournalUnavailableError",
    "LeaseLostError",
    "MLflowAuthenticationError",
    "MLflowConnectionError",
    "ModelNotFoundError",
    "NotDeliveredError",
    "NotFoundError",
    "NotStoredError",
    "PermanentError",
    "PermissionDeniedError",
    "RateLimitedError",
    "RegistryException",
    "RejectedError",
    "StillNeededError",
    "TransientError",
    "UnavailableError",
    "UnsupportedFilterError",
]


def storable(text: str) -> str:
    """Give a text as every database and stream can hold it.

    Texts from outside (a server's answer, a driver's message) may hold NUL characters and halves of
    surrogate pairs; both are replaced.
    """
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


class HokusaiError(Exception):
    """Base of every error of this library.

    Its message can be stored and printed anywhere, whatever it repeats of another's text.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(storable(part) if isinstance(part, str) else part for part in args))


HokusaiException = HokusaiError
"""The name that existing code catches."""


class ConfigurationError(HokusaiError, ValueError):
    """A setting, or an argument of a constructor, is wrong. Nothing was opened or written."""


class BackendNotFoundError(ConfigurationError):
    """No installed plugin has the name that was asked for."""


class BackendNotInstalledError(ConfigurationError):
    """The plugin exists, but the packages that it needs do not."""


class BackendBrokenError(ConfigurationError):
    """A plugin fails to import, or does not keep the hook contract."""


class InvalidInputError(HokusaiError, ValueError):
    """The caller's value is refused, the same on every backend. Nothing was written."""


class UnsupportedFilterError(InvalidInputError):
    """A search filter that only the primary understands, used while it is away."""


class StillNeededError(InvalidInputError):
    """Others depend on the operations that should be discarded; nothing was changed.

    Args:
        message: Which, and what to do.
        op_ids: All operations that depend on them.

    """

    def __init__(self, message: str, op_ids: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.op_ids = op_ids


class RegistryException(HokusaiError):  # noqa: N818 - the name that existing code catches
    """Base of registry errors, under the name that existing code catches.

    A registration writes runs and files besides versions, so all that a backend fails with is one.
    """


class InvalidTagsError(InvalidInputError, RegistryException):
    """The tags of a tokenized model are incomplete or wrong. Nothing was written."""


class BackendError(RegistryException):
    """A backend could not, or would not, carry something out."""


class MLflowConnectionError(BackendError):
    """No usable answer came from the primary, under the name that existing code catches."""


class MLflowAuthenticationError(BackendError):
    """The primary refuses the credentials, under the name that existing code catches."""


class TransientError(BackendError):
    """May work later. The router queues the operation; a worker tries it again.

    Args:
        message: What happened, to what.
        maybe_applied: Whether the primary may have carried the operation out all the same (once
            bytes were sent, and no answer that denies it came back).
        retry_after: Seconds that the server asks to wait, from ``Retry-After``; None if it did not.
        fast: Whether the failure came at once, so that another attempt fits into the budget.
        about_this: Whether the operation itself may be the reason though it was not applied (a proxy
            finds it too large): where others succeed meanwhile, it becomes a dead letter.

    """

    def __init__(
        self,
        message: str,
        *,
        maybe_applied: bool = False,
        retry_after: float | None = None,
        fast: bool = False,
        about_this: bool = False,
    ) -> None:
        super().__init__(message)
        self.maybe_applied = maybe_applied
        self.about_this = about_this
        self.retry_after = retry_after
        self.fast = fast


class UnavailableError(TransientError, MLflowConnectionError):
    """No usable answer came: refused, timed out, reset, 5xx, or a proxy's page."""


class RateLimitedError(TransientError, MLflowConnectionError):
    """The server answered 429."""


class CircuitOpenError(TransientError, MLflowConnectionError):
    """The primary failed a moment ago, so it was not asked."""


class CredentialsRejectedError(TransientError, MLflowAuthenticationError):
    """401 or 403 although these credentials worked before (tokens expire, proxies heal in steps).

    Args:
        message: What happened, to what.
        this_only: Whether the server itself refused this one thing, so that others may go on.
        fast: Whether the failure came at once.

    """

    def __init__(self, message: str, *, this_only: bool = False, fast: bool = False) -> None:
        super().__init__(message, fast=fast)
        self.this_only = this_only

    @classmethod
    def instead_of(
        cls, refusal: "AuthenticationError | PermissionDeniedError"
    ) -> "CredentialsRejectedError":
        """Give the transient error that a refusal is where something waits for the server already."""
        this_only = isinstance(refusal, PermissionDeniedError) and refusal.this_only
        return cls(str(refusal), this_only=this_only)


class PermanentError(BackendError):
    """Trying again does not help. Raised to the caller; in a worker it makes a dead letter."""


class NotFoundError(PermanentError):
    """The experiment, run, model, version or artifact does not exist."""


class AlreadyExistsError(PermanentError):
    """Something with that name exists."""


class ConflictError(PermanentError):
    """Contradicts what is stored: another value for a param, an alias that moved elsewhere."""


class RejectedError(PermanentError):
    """The server refuses the request as it is."""


class AuthenticationError(PermanentError, MLflowAuthenticationError):
    """Credentials are missing or wrong (401)."""


class PermissionDeniedError(PermanentError, MLflowAuthenticationError):
    """The credentials are known, and not allowed to do this (403).

    Args:
        message: What happened, to what.
        this_only: Whether the server itself refused this one thing; False where something before
            it (a proxy) refuses, perhaps everything.

    """

    def __init__(self, message: str, *, this_only: bool = True) -> None:
        super().__init__(message)
        self.this_only = this_only


class ModelNotFoundError(NotFoundError):
    """A registered model or version does not exist."""


class NotStoredError(RegistryException):
    """The primary, the journal and the spool all failed: the record is kept nowhere.

    Args:
        message: What was not stored.
        causes: The error of each place that was tried, in order.

    """

    def __init__(self, message: str, causes: tuple[BaseException, ...] = ()) -> None:
        super().__init__(message)
        self.causes = causes


class JournalUnavailableError(HokusaiError):
    """The journal cannot be reached, or cannot write.

    Args:
        message: What happened.
        maybe_applied: Whether a commit was under way, so that the append may have succeeded.

    """

    def __init__(self, message: str, *, maybe_applied: bool = False) -> None:
        super().__init__(message)
        self.maybe_applied = maybe_applied


class JournalBusyError(HokusaiError):
    """Workers hold streams that should be changed as a whole; nothing was changed."""


class LeaseLostError(HokusaiError):
    """The stream's fence is higher than the worker's: another worker holds it, nothing was changed."""


class NotDeliveredError(HokusaiError, TimeoutError):
    """Waiting ended before the record reached the primary. It is still queued."""


class DeadLetterError(HokusaiError):
    """The primary refused a queued record for good; its payload is kept in the journal."""
