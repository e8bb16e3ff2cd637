"""A library that does not come to the end of its import, in the first life of the actor that needs it."""

import threading

from tests.chaos.hanger import Hanger, begin_to_hang, is_first_life

if is_first_life():
    begin_to_hang()
    threading.Event().wait()

__all__ = ["Hanger"]
