"""Kills the agent at random moments, again and again, and holds its books against the script that its driver played.

``python -m benchmarks.kills --kills 1000`` runs the real agent on the tests' fake driver: a shared GPU, one in the
hands of a process that nobody can explain, one that nobody holds, each with a power of its own that changes all the
time. It is killed while it starts, works, saves, starts its log anew and closes hours; the wall clock steps while it is
dead. Somebody scrapes it all along. In the end time must be that of the clock and energy that of the script, to the
nanosecond and the millijoule, and no counter may ever have been seen to fall. The exit status tells.
"""

import argparse
import os
import platform
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.kills_bench import DEVICES, Bench, make_bench, moments, play
from benchmarks.kills_truth import Expected, Saved, Sums, compare, first_reading
from benchmarks.kills_watch import Broken, Watcher, wait_for
from tests.integration.agent_process import NAMES

LIVES_OF_A_JOB = 15
SECONDS_A_KILL = 6
_NS = 1_000_000_000


def live_and_die(bench: Bench, watcher: Watcher) -> None:
    """One life, ended at a moment drawn by chance."""
    bench.step_clock()
    watcher.life += 1
    with bench.live() as agent:
        if bench.chance.random() < 0.2:
            time.sleep(bench.chance.uniform(0, 0.6))
            bench.die(agent, "starting")
            return
        chances = moments(bench)
        shown = wait_for(lambda: watcher.seen_in == watcher.life or watcher.broken or agent.process.poll(), 60)
        watcher.check()
        if not shown:
            raise Broken(f"the agent shows nothing:\n{agent.said}")
        name = bench.chance.choice(list(chances))
        reached = wait_for(chances[name], 2.5)
        time.sleep(bench.chance.uniform(0, 0.002) if name != "working" else 0)
        bench.die(agent, name if reached else "working")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is left when all is over and nothing was broken."""

    bench: Bench
    watcher: Watcher
    saved: Saved
    accounts: list[dict[str, Sums]]
    """By device."""


def run(kills: int, seed: int, folder: Path) -> Outcome:
    """Kill the agent so many times and compare its books with the script.

    Raises:
        Broken: the first thing that is not as it must be.
    """
    bench = make_bench(folder, seed)
    with bench.driver, Watcher(bench.port) as watcher:
        first_ns = begin(bench)
        before_mj = [device.true_energy_mj() for device in bench.driver.devices]
        for device, scripted in zip(bench.driver.devices, DEVICES, strict=True):
            play(device, scripted, bench.chance, 60 + SECONDS_A_KILL * kills)
        for number in range(1, kills + 1):
            live_and_die(bench, watcher)
            watcher.check()
            if number % LIVES_OF_A_JOB == 0:
                watcher.finished |= {bench.next_job()}
        for device in bench.driver.devices:
            device.set(power_mw=0)
        moved_mj = [d.true_energy_mj() - mj for d, mj in zip(bench.driver.devices, before_mj, strict=True)]
        saved = finish(bench, watcher, moved_mj)
        watcher.check()
        if violations := bench.driver.violations():
            raise Broken(f"the agent called what changes a device: {violations}")
    accounts: list[dict[str, Sums]] = []
    for device, scripted, energy_mj in zip(bench.driver.devices, DEVICES, moved_mj, strict=True):
        expected = Expected(
            first_ns=first_ns[device.uuid],
            energy_mj=energy_mj,
            accounts=scripted.accounts,
            may=scripted.may,
            activity_percent=scripted.activity_percent,
            dead_ns=bench.dead_ns(),
        )
        accounts.append(compare(saved, device.uuid, expected, watcher.last))
    return Outcome(bench, watcher, saved, accounts)


def begin(bench: Bench) -> dict[str, int]:
    """A first run without a kill, while the counters stand still; when it read each device first.

    Raises:
        Broken: its books begin before it did, or with another energy than the counters show.
    """
    with bench.live() as agent:
        for device in bench.driver.devices:
            agent.until_booked(device.uuid, 0.3)
        saved = bench.end(agent)
    firsts: dict[str, int] = {}
    for device in bench.driver.devices:
        first_ns, energy_mj = first_reading(saved, device.uuid)
        if not bench.born_ns[0] < first_ns < bench.died_ns[0] or energy_mj != device.true_energy_mj():
            raise Broken(f"{device.uuid}: the books begin at {first_ns} ns with {energy_mj} mJ")
        firsts[device.uuid] = first_ns
    return firsts


def finish(bench: Bench, watcher: Watcher, moved_mj: list[int]) -> Saved:
    """A last run without a kill, until the books have read the counters where they came to stand."""
    watcher.life += 1
    wanted = {f'gpu_uuid="{device.uuid}"': mj for device, mj in zip(bench.driver.devices, moved_mj, strict=True)}

    def all_shown() -> bool:
        shown = {s: v for s, v in watcher.last.items() if s.startswith(NAMES["energy"][1])}
        return watcher.seen_in == watcher.life and all(
            any(uuid in series and value * 1000 == mj for series, value in shown.items()) for uuid, mj in wanted.items()
        )

    with bench.live() as agent:
        wait_for(lambda: watcher.broken or all_shown(), 20)
        return bench.end(agent)


def table(outcome: Outcome) -> list[tuple[str, str]]:
    """What to tell."""
    bench, watcher, saved = outcome.bench, outcome.watcher, outcome.saved
    time_ns = sum(ns for accounts in outcome.accounts for ns, _ in accounts.values())
    unobserved_ns = sum(accounts["unobserved"][0] for accounts in outcome.accounts)
    energy_mj = sum(mj for accounts in outcome.accounts for _, mj in accounts.values())
    landed = ", ".join(f"{count} {where}" for where, count in bench.landed.most_common())
    system = f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    return [
        ("kills", f"{bench.landed.total()}: {landed}"),
        ("restarts", f"{len(bench.born_ns) - 1}; {watcher.sweeps} sweeps seen, {saved.books.sequence} records saved"),
        ("scrapes", f"{watcher.pages} pages; {watcher.compared} values of counters held against the last, none fell"),
        ("hours", f"{len(saved.hours)} in the books; {bench.steps} steps of the wall clock, {bench.jobs} jobs"),
        ("GPU time", f"{time_ns / _NS:.9f} s, the clock's; {unobserved_ns / _NS:.9f} s of it unobserved"),
        ("energy", f"{energy_mj / 1000:.3f} J, the script's"),
        ("machine", system),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=100, help="how many (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=None, help="of all that is drawn by chance (default: another each time)"
    )
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="wattledger-kills-") as folder:
        try:
            rows = table(run(options.kills, seed, Path(folder)))
        except Broken as error:
            print(f"BROKEN  with seed {seed}: {error}", file=sys.stderr)
            return 1
    for name, value in [*rows, ("run", f"seed {seed}, {time.monotonic() - began:.0f} s")]:
        print(f"{name:<10}{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
