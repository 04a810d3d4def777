"""Every message of every error is in the reference, and is written as a sentence."""

import importlib
import inspect
import pkgutil

import pytest

import hokusai_core
from hokusai_core import errors
from tests.docs.messages import PAGE, Message, messages, page_text


@pytest.fixture(scope="module")
def found() -> list[Message]:
    return messages()


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page_text(), "run: python -m tests.docs.messages"


def test_messages_are_found_where_errors_are_made(found: list[Message]) -> None:
    texts = {(message.error, message.text) for message in found}
    assert ("ModelNotFoundError", "Model not found: {checked}.") in texts
    assert len(texts) > 100
    classes = {message.error for message in found}
    bases = {"HokusaiError", "BackendError", "TransientError", "RegistryException"}
    unused = {
        name
        for name in set(errors.__all__) - classes - bases
        if getattr(errors, name).__name__ == name
    }
    # Made in the place of a class that is chosen at run time, and of nothing else.
    assert unused <= {"MLflowConnectionError", "MLflowAuthenticationError"}, unused


def test_each_message_is_a_sentence(found: list[Message]) -> None:
    """It ends like one, or with what another message says."""
    broken = [each for each in found if each.text[-1:] not in (".", "?", "}", ")")]
    broken += [each for each in found if "!" in each.text or "  " in each.text]
    assert broken == []


def test_every_error_class_of_the_core_is_in_the_one_module() -> None:
    """So that none can be made that the reference does not know."""
    elsewhere = []
    for module in pkgutil.walk_packages(hokusai_core.__path__, "hokusai_core."):
        if module.name.startswith(("hokusai_core.testing", "hokusai_core.__main__")):
            continue
        for name, member in inspect.getmembers(importlib.import_module(module.name), _is_ours):
            if member.__module__ == module.name and not name.startswith("_"):
                elsewhere.append(f"{module.name}.{name}")
    assert [each for each in elsewhere if not each.startswith("hokusai_core.errors.")] == []


def _is_ours(member: object) -> bool:
    return inspect.isclass(member) and issubclass(member, errors.HokusaiError)
