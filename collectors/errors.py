"""The errors of every source, named for the caller's next move.

SourceError
├── Unsupported      this chip, driver or kernel cannot tell: the value is absent, ask no more
├── Unavailable      it cannot tell now (no driver, no socket, no permission): try again later
│   └── DeviceLost   this one device does not answer; its siblings may
└── Misconfigured    a person must change something: the message says what and where
"""


class SourceError(Exception):
    """Base of what a collector raises; the message names the thing and the remedy."""


class Unsupported(SourceError):  # noqa: N818  (named for the caller's move, not for being an error)
    """The chip, driver or kernel does not have this; the value stays absent."""


class Unavailable(SourceError):  # noqa: N818
    """The source does not answer now; a later call may succeed."""


class DeviceLost(Unavailable):
    """One device does not answer (fallen off the bus, reset, gone); the others go on."""


class Misconfigured(SourceError):  # noqa: N818
    """Something that only a person can put right."""
