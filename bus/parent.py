"""A child that does not outlive its parent."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

PR_SET_PDEATHSIG = 1


def die_with_parent(environ: Mapping[str, str] = os.environ) -> None:
    """Have the kernel kill this process when $EARSHOT_PARENT_PID ends. Without that variable there is no such parent.

    The child asks for this itself, because the parent must not run Python code between fork and exec once it has threads.
    """
    parent = environ.get("EARSHOT_PARENT_PID")
    if not parent:
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it died before we asked
        os._exit(os.EX_UNAVAILABLE)
