"""Rows of a small table, a bucket behind HTTP, and a writer in a process of its own."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import polars as pl

from ledger.store import Store
from ledger.tables import NODE_HOURS, TIME

CHECKOUT = Path(__file__).parents[2]
HOUR_5, HOUR_6 = (datetime(2026, 11, 1, hour, tzinfo=UTC) for hour in (5, 6))
SECRET = "s3cr3t-of-the-bucket"


def hours(*rows: tuple[datetime, str, int]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "day": [hour.date() for hour, _, _ in rows],
            "hour_utc": [hour for hour, _, _ in rows],
            "node": [node for _, node, _ in rows],
            "existed_ns": [ns for _, _, ns in rows],
        },
        schema={"day": pl.Date, "hour_utc": TIME, "node": pl.String, "existed_ns": pl.Int64},
    )


def read(store: Store, version: int | None = None) -> list[tuple[int, str, int]]:
    frame = store.scan(NODE_HOURS, version).sort("hour_utc", "node").collect()
    return [(hour.hour, node, ns) for hour, node, ns in frame.select("hour_utc", "node", "existed_ns").rows()]


@contextmanager
def bucket(whim: str = "") -> Iterator[dict[str, str]]:
    """An S3 endpoint with the bucket ``books`` in a process of its own; gives the options of a store.

    Args:
        whim: ``deny`` refuses every write; a path refuses everything while something is there.
    """
    with in_a_process("serve_bucket(sys.argv[1])", whim) as server:
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            yield {
                "AWS_ENDPOINT_URL": url,
                "AWS_ALLOW_HTTP": "true",
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "AKIAABCDEFGHIJKLMNOP",
                "AWS_SECRET_ACCESS_KEY": SECRET,
            }
        finally:
            server.kill()


def serve_bucket(whim: str) -> None:
    """Serve until killed; prints the address once the bucket is there."""
    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = DomainDispatcherApplication(create_backend_app)
    ready = Event()

    def denied(method):
        return method == "PUT" if whim == "deny" else bool(whim) and Path(whim).exists()

    def app(environ, start_response):
        if ready.is_set() and denied(environ["REQUEST_METHOD"]):
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>']
        return moto(environ, start_response)

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    keys = {"aws_access_key_id": "AKIAABCDEFGHIJKLMNOP", "aws_secret_access_key": SECRET}
    boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys).create_bucket(Bucket="books")
    ready.set()
    print(url, flush=True)
    thread.join()


def in_a_process(code: str, *arguments: str, **more) -> subprocess.Popen[str]:
    """Python code with the rig at hand, in a process of its own."""
    text = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r})\nfrom tests.ledger.store_rig import *\n{code}"
    command = [sys.executable, "-c", text, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
