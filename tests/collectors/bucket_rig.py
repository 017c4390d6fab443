"""A bucket behind HTTP: moto's S3 on the loopback, which can be told to refuse."""

import logging
import threading
import urllib.request

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from collectors.aws_client import client
from collectors.bill_shelf import Bucket

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class BucketServer:
    """The bucket ``bills``; ``denied`` names request methods that are refused, ``page`` is the length of a listing."""

    def __init__(self):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.denied = set()
        self.page = None
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._app, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._client = boto3.client("s3", endpoint_url=self.url, region_name="us-east-1")
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")).close()
        self._client.create_bucket(Bucket="bills")
        self.shelves = []

    def put(self, key, content):
        self._client.put_object(Bucket="bills", Key=key, Body=content)

    def shelf(self, prefix="", bucket="bills"):
        made = client("s3", "us-east-1", endpoint_url=self.url, attempts=1)
        self.shelves.append(made)
        return Bucket(made, bucket, prefix, "us-east-1")

    def close(self):
        for made in (self._client, *self.shelves):
            made.close()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _app(self, environ, start_response):
        if environ["REQUEST_METHOD"] in self.denied:
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [DENIED]
        if self.page and "list-type" in environ["QUERY_STRING"]:
            environ["QUERY_STRING"] += f"&max-keys={self.page}"
        return self._moto(environ, start_response)
