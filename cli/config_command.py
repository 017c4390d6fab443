"""`wattledger config`: the settings in force, a check of a file, the page and the schema."""

import json
import os
from pathlib import Path

import click

from cli.config import Config
from cli.config_load import load_config
from cli.node_options import config_option


@click.command()
@config_option
@click.option("--check", metavar="FILE", type=click.Path(path_type=Path), help="Check this file and say no more.")
@click.option("--schema", "form", flag_value="schema", help="The JSON Schema of the file.")
@click.option("--markdown", "form", flag_value="markdown", help="The generated page docs/configuration.md.")
def config(config_file: Path | None, check: Path | None, form: str | None) -> None:
    """Print the settings in force as YAML: defaults, then the file, then the environment.

    \b
    Examples
      wattledger config
      wattledger config --config wattledger.yaml
      wattledger config --check wattledger.yaml && echo good
      wattledger config --schema > wattledger.schema.json
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)
    if form == "schema":
        click.echo(json.dumps(Config.model_json_schema(), indent=2))
    elif form == "markdown":
        from cli.config_docs import render_markdown  # noqa: PLC0415  (for this form only)

        click.echo(render_markdown(), nl=False)
    elif check:
        load_config(check, {}, {})
        click.echo(f"{check}: good")
    else:
        _print_in_force(load_config(config_file, os.environ, {}))


def _print_in_force(settings: Config) -> None:
    import yaml  # noqa: PLC0415  (for this form only)

    click.echo(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True), nl=False)
