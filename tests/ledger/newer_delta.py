"""A table that somebody else's Delta, newer than ours, wrote."""

import json
from collections.abc import Mapping
from pathlib import Path

NEWEST = {"minReaderVersion": 99, "minWriterVersion": 99}


def commit_newer(table: Path, protocol: Mapping[str, object] = NEWEST) -> Path:
    """Put a commit upon a table that asks for a newer Delta; gives the commit's file."""
    log = table / "_delta_log"
    commit = log / f"{len(list(log.glob('*.json'))):020}.json"
    commit.write_text(json.dumps({"protocol": protocol}) + "\n")
    return commit
