"""What stands in the endpoint's folder reaches the processes that read it."""

from pathlib import Path

from actors.endpoint.surroundings import Surroundings
from actors.journal import JournalConfig


def test_the_journals_are_kept_as_the_configuration_says(tmp_path: Path) -> None:
    config = tmp_path / "endpoint.toml"
    config.write_text("")
    assert Surroundings.of(tmp_path).journal_config == JournalConfig()
    config.write_text('[journal]\ndurability = "interval"\ninterval = 0.25')
    kept = Surroundings.of(tmp_path).journal_config
    assert kept == JournalConfig(durability="interval", interval=0.25)
