"""Long answers in pages, long questions in batches."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def pages(search: Callable[[str | None], Any]) -> Iterator[Any]:
    """Go through all pages of a search; ``search`` takes a page token, None for the first."""
    token: str | None = None
    while True:
        page = search(token)
        yield from page
        token = getattr(page, "token", None) or None
        if token is None:
            return


def models_with(store: Any, experiment_ids: list[str], condition: str) -> Iterator[Any]:
    """Find the logged models of these experiments that fulfil a condition."""
    return pages(
        lambda token: store.search_logged_models(
            experiment_ids, filter_string=condition, page_token=token
        )
    )


def batches(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """Cut a sequence into lists of at most ``size`` items."""
    return (list(items[start : start + size]) for start in range(0, len(items), size))
