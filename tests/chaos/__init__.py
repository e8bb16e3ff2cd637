"""Small programs that misbehave as children of the launcher, with honest names. Run as `python -m tests.chaos.NAME`."""
