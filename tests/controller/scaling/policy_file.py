"""A configuration file that is edited, and swapped as the kubelet swaps a ConfigMap, while somebody follows it."""

import os
import shutil

from cli.config_load import ConfigFile
from controller.scaling.policy_source import PolicySource

NIGHTS = "{name: nights, namespaces: [team-a], down: 'Mon-Fri 20:00-07:00, Sat-Sun', gpu_only: false}"
GOOD = f"schedule:\n  enabled: true\n  dry_run: false\n  policies:\n  - {NIGHTS}\n"
NO_POLICY = "schedule:\n  enabled: true\n  dry_run: false\n"


class Mounted:
    """``config.yaml`` in a folder, through two links, as a ConfigMap is mounted."""

    def __init__(self, folder, text):
        self._folder = folder
        self._version = 0
        self.path = folder / "config.yaml"
        self.swap(text)
        self.path.symlink_to("..data/config.yaml")

    def swap(self, text):
        """A new content, and the old one is gone."""
        former = self._folder / f"..{self._version}"
        self._version += 1
        now = self._folder / f"..{self._version}"
        now.mkdir()
        (now / "config.yaml").write_text(text)
        link = self._folder / "..data_tmp"
        link.symlink_to(now.name)
        os.replace(link, self._folder / "..data")  # noqa: PTH105  (as the kubelet does it)
        shutil.rmtree(former, ignore_errors=True)


def source_of(path, follower, **environ):
    """One that follows a file whose settings were in force from the start, and has seen it so."""
    file = ConfigFile(path, environ, {})
    source = PolicySource(path, file.load(path.read_bytes()).schedule, lambda read: file.load(read).schedule, follower)
    looks(source)
    return source


def looks(source):
    """As many as a change takes."""
    source.look()
    source.look()
