"""What every test shares: how Hypothesis searches."""

import os

from hypothesis import settings

# A deadline on a machine that is shared tells of its neighbours. In CI the same examples come every time, so that a
# red run is red again; at a desk new ones are looked for.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "desk")
