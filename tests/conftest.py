"""For all tests: what hypothesis may not judge by, which is time.

A slow machine is no bug, so no example has a deadline; and the same tree gets the same verdict each time: `make test`
draws the same examples, `make stress` others in each run.
"""

from hypothesis import HealthCheck, settings

from tests.stress.scale import FULL

settings.register_profile("llmctl", deadline=None, derandomize=not FULL, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("llmctl")
