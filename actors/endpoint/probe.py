"""Probe: does the batch system of a configuration answer?"""

from actors.config import EndpointConfig
from actors.endpoint.provider_process import make_provider
from actors.errors import ConfigError
from providers import Probing, ProviderError

__all__ = ["probe_provider"]


def probe_provider(config: EndpointConfig) -> bool:
    """Make the provider that the configuration names, and ask its batch system.

    Returns:
        Whether somebody answered; false: this provider cannot be asked.

    Raises:
        ConfigError: there is no such provider, it does not take its options, what it
            needs is not there, or nobody answers.
    """
    provider = make_provider(config)
    try:
        if not isinstance(provider, Probing):
            return False
        provider.probe()
    except ProviderError as error:
        raise ConfigError(str(error)) from error
    finally:
        provider.close()
    return True
