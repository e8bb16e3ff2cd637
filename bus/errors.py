"""The errors that cross module borders. Each message says what happened, where, and what to do next."""

from __future__ import annotations


class EarshotError(Exception):
    """Base of every error that Earshot raises on purpose; its text is fit to be shown to the user."""


class SetupError(EarshotError):
    """Something only the user can put right (a setting, a file, a model). A process ends with EX_CONFIG and is not restarted."""


class WireError(EarshotError):
    """A message that does not follow the protocol. It was counted and dropped; nothing else happened."""


class AddressError(EarshotError):
    """A directory or socket name that cannot be used."""


class InstanceRunning(EarshotError):
    """Another process holds the lock of this runtime directory or of this stream."""


class NoInstance(EarshotError):
    """No assistant is running in this runtime directory, or it does not answer."""


class StorageTrouble(EarshotError):
    """A database cannot be used just now: a full disk, a lock, a read-only mount. It is tried again until the cause goes."""


class SpoolError(SetupError):
    """The spool file is another program's, or of another version."""


class SpoolDamaged(SpoolError):
    """The spool file is torn, or no database at all. `spool.open_spool` mends it."""
