"""How Hypothesis looks for counterexamples, in all tests."""

import os

from hypothesis import HealthCheck, settings

# No deadline, and no word on slowness: how long an example takes is the machine's
# matter. With the variable CI set, Hypothesis tries the same examples each time.
settings.register_profile(
    "tests",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=int(os.environ.get("ACTORS_EXAMPLES", "100")),
)
settings.load_profile("tests")
