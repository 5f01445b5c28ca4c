"""Packages that one provider needs and others don't: extras of this distribution."""

import importlib
from typing import Any

from providers.base import ProviderError

__all__ = ["ExtraMissing", "load_extra"]


class ExtraMissing(ProviderError, ImportError):
    """Tell that a provider's client library is not installed, and how to get it."""


def load_extra(extra: str, module: str) -> Any:
    """Import a module that only one provider needs, when it is used.

    Args:
        extra: of this distribution, that brings the module.
        module: its full name.

    Raises:
        ExtraMissing: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            f"{error.name} is not installed; get it by: pip install 'actors[{extra}]'"
        ) from error
