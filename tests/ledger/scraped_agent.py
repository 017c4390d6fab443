"""An agent's real books, what they add up to, and every page scraped off them, to be asked like a Prometheus."""

import re
from collections import defaultdict
from datetime import UTC, datetime
from functools import cache

from agent.account_families import AccountFamilies
from agent.books import Books
from agent.entry import Base, Control, Entry, Row
from agent.holder_labels import HolderLabels
from collectors.prometheus_api import Series
from ledger.hours import CellKey, RowKey

BEGIN = 1_793_491_200
"""2026-11-01T00:00:00Z."""
STEP = 30
HOUR = 3600
CHAT, TRAIN = ("pod", "ml/chat-0/server"), ("pod", "ml/train-0/main")
NOBODY = ("none", "")
_LINE = re.compile(r"(\w+)\{(.*)\}")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_QUERY = re.compile(r'(\w+)\{node=~"([^"]*)"\}\[(\d+)s\]')


def at(second):
    return datetime.fromtimestamp(BEGIN + second, UTC)


class ScrapedAgent:
    """One node's agent. Time passes by :meth:`run`, in steps of a scrape."""

    def __init__(self, node="n1", *, cap=1000, begin=0, kubernetes=True, more=None):
        self.node, self.more = node, {"job": "agent", "instance": node, **(more or {})}
        self.labels = HolderLabels(kubernetes)
        self.families = AccountFamilies(node, self.labels)
        self.books = Books("boot", [(0, 0)], series_cap=cap)
        self.second = begin
        self.tokens = defaultdict(int)
        self.notes = {}
        self.truth = defaultdict(lambda: [0, 0])
        """(hour, device, holder, account) to nanoseconds and millijoules."""
        self.samples = defaultdict(list)
        """Name and labels to points."""

    def run(self, seconds, *cells, scraped=True, watts=100):
        """Cells are (device, holder, account, share); the shares of a device add up to 1."""
        for _ in range(0, seconds, STEP):
            self._pass(cells, watts)
            if scraped:
                self.scrape()

    def _pass(self, cells, watts):
        entry = Entry(self.second * 10**9)
        for device, holder, account, share in cells:
            ns, mj = round(STEP * share * 10**9), round(STEP * share * watts * 1000)
            cell = CellKey(device, "", *holder, account, "sm")
            entry.names[device], entry.bases[device] = "NVIDIA H100", Base(1, 1, 0)
            hour = (BEGIN + self.second) // HOUR * HOUR
            entry.rows.append(Row(hour, RowKey(cell, "whole", ""), ns, mj))
            entry.controls.append(Control(hour, device, ns, mj, ""))
            truth = self.truth[self.second // HOUR, device, holder[1], account]
            truth[0] += ns
            truth[1] += mj
        self.books.apply(entry)
        self.second += STEP

    def retire(self, *holders):
        self.books.retire([key for key in self.books.meters if (key.holder_kind, key.holder) in holders])

    def reboot(self):
        self.books.begin_boot("next", [(0, 0)])
        self.tokens.clear()

    def scrape(self):
        for family in self.families.families(self.books):
            for prefix, value in family.lines:
                self._sample(*_taken_apart(prefix), float(value))
        for uuid in self.books.bases:
            told = {"gpu_uuid": uuid, "gpu": "0", "model": "NVIDIA H100", "driver": "580", "source": "nvml"}
            self._sample("wattledger_gpu_info", told, 1)
        for (holder, kind), amount in self.tokens.items():
            self._sample("wattledger_work_total", {"model": "m", "kind": kind, **self._of(holder)}, amount)
        for holder, note in self.notes.items():
            self._sample("wattledger_holder_info", {**self._of(holder), **note}, 1)

    def _of(self, holder):
        return dict(zip(self.labels.names, self.labels.of(*holder), strict=True))

    def _sample(self, name, labels, value):
        shown = {"__name__": name, "node": self.node, **self.more, **labels}
        key = tuple(sorted((label, text) for label, text in shown.items() if text))
        self.samples[key].append((float(BEGIN + self.second), value))


@cache
def _taken_apart(prefix):
    name, labels = _LINE.fullmatch(prefix.strip()).groups()
    return name, dict(_LABEL.findall(labels))


class Scraped:
    """What a Prometheus would answer that scraped these agents."""

    def __init__(self, *agents):
        self.agents, self.asked, self.error = agents, [], None

    def query(self, expression, at):
        self.asked.append(expression)
        if self.error:
            raise self.error
        name, nodes, seconds = _QUERY.fullmatch(expression).groups()
        return list(self._found(name, nodes.replace("\\\\", "\\"), at - int(seconds), at))

    def _found(self, name, nodes, after, until):
        for agent in self.agents:
            for key, points in agent.samples.items():
                labels = dict(key)
                kept = tuple(point for point in points if after < point[0] <= until)
                if labels["__name__"] == name and re.fullmatch(nodes, agent.node) and kept:
                    yield Series(labels, kept)


def openmetrics(*agents):
    """For ``promtool tsdb create-blocks-from openmetrics``."""
    families = defaultdict(list)
    for agent in agents:
        for key, points in agent.samples.items():
            labels = dict(key)
            name = labels.pop("__name__")
            inside = ",".join(f'{label}="{text}"' for label, text in labels.items())
            families[name] += [f"{name}{{{inside}}} {value!r} {when:.0f}" for when, value in points]
    lines = [line for name, lines in families.items() for line in (f"# TYPE {name} unknown", *lines)]
    return "\n".join([*lines, "# EOF", ""])
