"""The list of checks, in the order in which a person would look; a check that breaks is itself a finding."""

import logging
from collections.abc import Iterator

from cli.doctor_devices import check_devices, check_driver
from cli.doctor_finding import Check, Finding, Machine
from cli.doctor_host import check_cgroups, check_clock, check_dcgm, check_power, check_processes
from cli.doctor_kubernetes import check_kubernetes
from cli.doctor_prices import check_cloud, check_prices
from cli.doctor_service import check_certificate, check_directory, check_listen, check_token
from cli.doctor_serving import check_serving

CHECKS: tuple[Check, ...] = (
    check_driver,
    check_devices,
    check_processes,
    check_cgroups,
    check_power,
    check_clock,
    check_dcgm,
    check_kubernetes,
    check_serving,
    check_cloud,
    check_prices,
    check_listen,
    check_token,
    check_certificate,
    check_directory,
)
_log = logging.getLogger(__name__)


def examine(machine: Machine, checks: tuple[Check, ...] = CHECKS) -> Iterator[Finding]:
    """All findings, as they are made."""
    for check in checks:
        try:
            yield from check(machine)
        except Exception as error:  # noqa: BLE001  (a doctor that falls over tells nothing)
            _log.debug("check broke", exc_info=True)
            name = check.__name__.removeprefix("check_")
            what = f"the check itself broke: {type(error).__name__}: {error}"
            yield Finding(name, "fail", what, "this is a fault of wattledger: please report this line")
