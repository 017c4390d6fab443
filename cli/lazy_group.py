"""A group of commands by name: imports only the one that is called; the help of all needs the import of none."""

import importlib
from collections.abc import Mapping
from typing import Any, cast

import click


class LazyGroup(click.Group):
    """Commands as ``name: (module and function, one line for --help)``."""

    commands_by_name: Mapping[str, tuple[str, str]]

    def __init__(self, *args: Any, commands_by_name: Mapping[str, tuple[str, str]], **more: Any) -> None:
        super().__init__(*args, **more)
        self.commands_by_name = commands_by_name

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """In the order in which they are told."""
        return list(self.commands_by_name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  (click's signature)
        """Imports it; None: there is none."""
        if cmd_name not in self.commands_by_name:
            return None
        module, function = self.commands_by_name[cmd_name][0].split(":")
        return cast("click.Command", getattr(importlib.import_module(module), function))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  (click's signature)
        """The one line of each."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.commands_by_name.items()])
