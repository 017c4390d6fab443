"""The error of bills. Light: settings of bills are read by processes that never see one."""

from collectors.errors import Misconfigured


class BillRefused(Misconfigured):
    """A bill that cannot be booked, whole; the message says what is wrong, where, and what to do."""
