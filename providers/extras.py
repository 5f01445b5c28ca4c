"""Packages that one provider needs and others don't: extras of this distribution."""

import importlib
import importlib.util
from typing import Any

from providers.base import ProviderError

__all__ = ["ExtraMissing", "load_extra", "require_extra"]


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
        # It, or a package that it is in; else something that it needs.
        is_itself = f"{module}.".startswith(f"{error.name}.")
        missing = module if is_itself else error.name
        raise ExtraMissing(_advice(extra, missing)) from error


def require_extra(extra: str, module: str) -> None:
    """See to it that a module is installed, without importing it.

    Raises:
        ExtraMissing: it is not.
    """
    if importlib.util.find_spec(module) is None:
        raise ExtraMissing(_advice(extra, module))


def _advice(extra: str, module: str | None) -> str:
    return f"{module} is not installed; get it by: pip install 'actors[{extra}]'"
