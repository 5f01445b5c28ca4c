"""What all tests need: failed assertions that say what was compared, and Hypothesis."""

import os

import pytest
from hypothesis import HealthCheck, settings

# pytest itself knows of files of tests. (What is rewritten goes to workers by value: so
# not all that tests share, some of which workers import.)
pytest.register_assert_rewrite("tests.providers.contract")

# No deadline, and no word on slowness: how long an example takes is the machine's
# matter. With the variable CI set, Hypothesis tries the same examples each time.
settings.register_profile(
    "tests",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=int(os.environ.get("ACTORS_EXAMPLES", "100")),
)
settings.load_profile("tests")
