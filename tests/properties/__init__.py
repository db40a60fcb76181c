"""Every parser, with anything at all: a result that can be stored, or an error of one line.

pytest tests/properties                      a hundred examples each
EXAMPLES=20000 pytest tests/properties       some minutes of fuzzing
make fuzz                                    ten minutes each, guided by coverage; hours
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "here",
    max_examples=int(os.environ.get("EXAMPLES", 100)),
    deadline=None,  # a shared machine is slow at times
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
    ],
)
settings.load_profile("here")
