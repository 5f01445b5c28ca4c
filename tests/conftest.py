"""What all tests need: failed assertions that say what was compared, and Hypothesis."""

import os
from pkgutil import iter_modules

import pytest
from hypothesis import HealthCheck, settings

import tests

# Those of the helpers that tests share, too; pytest itself knows of the files of tests.
pytest.register_assert_rewrite(
    *(
        f"tests.{name}"
        for _, name, _ in iter_modules(tests.__path__)
        if name != "conftest"
    )
)

# No deadline, and no word on slowness: how long an example takes is the machine's
# matter. With the variable CI set, Hypothesis tries the same examples each time.
settings.register_profile(
    "tests",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=int(os.environ.get("ACTORS_EXAMPLES", "100")),
)
settings.load_profile("tests")
