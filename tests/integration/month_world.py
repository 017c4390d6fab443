"""What surrounds the controller in the scripted month: agents behind HTTP, AWS's prices, bills in a directory."""

import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.collectors.aws_server import AwsServer
from tests.integration.month_deliveries import delivered
from tests.integration.month_prices import offers
from tests.integration.scripted_month import STEPS, answer


class MonthWorld:
    """Stands at one moment; ``turn`` moves it on."""

    def __init__(self, root):
        self.root = root
        self.now = STEPS[0]
        self.aws = AwsServer()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.agents = f"http://127.0.0.1:{self._server.server_port}"
        self._bills = {}
        self.turn(self.now)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.aws.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def turn(self, now):
        """It is that time."""
        self.now = now
        products, self.aws.spot, self.aws.shapes = offers(now)
        self.aws.products = {key: list(found) for key, found in products.items()}
        bills = delivered(now)
        for name in self._bills.keys() - bills.keys():
            (self.root / "bills" / name).unlink()
        for name, content in bills.items():
            if self._bills.get(name) != content:
                path = self.root / "bills" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        (self.root / "bills").mkdir(parents=True, exist_ok=True)
        self._bills = bills

    def forget_ledger(self):
        """Begin anew with the same world."""
        for name in ("ledger", "scratch", "bills"):
            shutil.rmtree(self.root / name, ignore_errors=True)
        self._bills = {}
        self.turn(STEPS[0])


def _handler(world):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = urlsplit(self.path)
            since = parse_qs(asked.query).get("since", [""])[0].removeprefix("change:")
            said = answer(asked.path.split("/")[1], world.now, int(since) if since else None)
            body = (said or "away").encode()
            self.send_response(200 if said else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler
