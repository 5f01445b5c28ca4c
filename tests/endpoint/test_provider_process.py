"""The provider that a configuration names is made, or an error says why it is not."""

from typing import Any

import pytest

from actors.config import parse_config
from actors.endpoint.provider_process import make_provider
from actors.errors import ConfigError
from providers import LocalProvider


class Keeper:
    """Has a provider inside, as a module may."""

    class Inner(LocalProvider):
        """A provider of a user's own."""


def made(text: str) -> Any:
    provider = make_provider(parse_config(text))
    provider.close()
    return provider


def test_local_is_the_default_and_takes_its_options() -> None:
    assert type(made("provider_options.kill_after = 1.5")) is LocalProvider


def test_a_class_of_a_users_own_is_imported() -> None:
    name = f"{__name__}:Keeper.Inner"
    assert type(made(f'blocks.provider = "{name}"')) is Keeper.Inner


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('blocks.provider = "no.such.module:Class"', "No module named 'no'"),
        ('blocks.provider = "providers:Nothing"', "has no attribute 'Nothing'"),
        ("provider_options.kill_after = -1", "kill_after -1"),
        ("provider_options.unknown = 1", "unexpected keyword argument 'unknown'"),
        (
            'blocks.provider = "slurm"\nprovider_options.partion = "x"',
            "does not suit provider 'slurm': partion is not a known option; did you",
        ),
        (
            'blocks.provider = "gridengine"\nprovider_options.slots_per_node = "4"',
            "slots_per_node '4' must be a whole number",
        ),
    ],
)
def test_what_cannot_be_made_is_explained(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_provider(parse_config(text))
    assert message in str(caught.value)
