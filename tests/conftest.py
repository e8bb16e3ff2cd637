"""Property tests have no time limit for each example: how long one takes says something about the machine, not about the program."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("earshot", deadline=None)
settings.load_profile("earshot")
