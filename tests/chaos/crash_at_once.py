"""Ends before it is ready, always."""

import sys

from tests.chaos import child

child.begin()
sys.exit(3)
