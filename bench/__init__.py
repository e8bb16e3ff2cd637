"""What Earshot costs: each figure beside its baseline or its goal from the same run. `python -m bench`."""
