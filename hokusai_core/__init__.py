"""Hokusai: experiment tracking and model registration that keep working when MLflow does not.

What the package offers is named in ``__init__.pyi``, and each name is imported with its first use: who
needs the errors only does not wait for the rest.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
