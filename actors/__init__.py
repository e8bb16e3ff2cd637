"""The actors: each a program of its own, started as `python -m actors NAME`."""
