"""An API server of our own on the loopback: lists by pages, watches, versions that expire, tokens, faults."""

import json
import ssl
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PODS = "/api/v1/pods"


def pod(name, uid=None, node="node-a", namespace="ml", **more):
    """A pod object with one running container; ``more`` is merged into metadata, spec and status."""
    made = {
        "metadata": {"name": name, "namespace": namespace, "uid": uid or f"uid-{name}"},
        "spec": {"nodeName": node, "containers": [{"name": "main"}]},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.7",
            "containerStatuses": [{"name": "main", "containerID": f"containerd://{container_id(name)}"}],
        },
    }
    for part, fields in more.items():
        made[part] |= fields
    return made


def container_id(name):
    return (name.encode().hex() * 64)[:64]


class QuietServer(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, *_request):
        """A client that breaks off or shows no certificate is no error here."""


class KubeServer:
    """Objects by collection path; each change gets a version and goes to the watches."""

    def __init__(self, tls=None, verify=None, port=0):
        self.changed = threading.Condition()
        self.version = 100
        self.oldest = 0
        self.objects = {PODS: {}}
        self.events = []
        self.asked = []
        self.tokens = None
        self.faults = []
        self.closing = False
        self.open_watches = 0
        self._server = QuietServer(("127.0.0.1", port), self._handler())
        self.scheme = "http"
        if tls:
            context = verify or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self._server.server_port}"

    def set(self, *objects, path=PODS, kind=None):
        for each in objects:
            with self.changed:
                kept = self.objects.setdefault(path, {})
                key = each["metadata"].get("uid", each["metadata"]["name"])
                self._note(path, kind or ("MODIFIED" if key in kept else "ADDED"), each)
                kept[key] = each

    def delete(self, uid, path=PODS):
        with self.changed:
            self._note(path, "DELETED", self.objects[path].pop(uid))

    def bookmark(self, path=PODS):
        with self.changed:
            self._note(path, "BOOKMARK", {"metadata": {}})

    def forget(self):
        """Compact: versions up to now have expired."""
        with self.changed:
            self.version += 1
            self.oldest = self.version
            self.changed.notify_all()

    def fail(self, *faults):
        """Answer the next requests with these, in turn: bytes before a cut, or (status, headers, body)."""
        with self.changed:
            self.faults += faults

    def forbid(self, after=0):
        """Refuse the request that comes after so many others, as for a right that is missing."""
        status = {"kind": "Status", "reason": "Forbidden", "message": "is forbidden", "code": 403}
        self.fail(*[None] * after, (403, {}, json.dumps(status)))

    def cut(self):
        """Break all open watches off without an end."""
        with self.changed:
            self.events.append((self.version, "", "CUT", {}))
            self.changed.notify_all()

    def wait_for_requests(self, count, verb=""):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requests(verb)) >= count, 10), self.asked

    def wait_for_watch(self):
        with self.changed:
            assert self.changed.wait_for(lambda: self.open_watches > 0, 10), self.asked

    def requests(self, verb=""):
        """Queries asked so far, all or those of ``list`` or ``watch``."""
        return [query for path, query, _ in self.asked if not verb or ("watch" in query) == (verb == "watch")]

    def close(self):
        with self.changed:
            self.closing = True
            self.changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _note(self, path, kind, each):
        self.version += 1
        each["metadata"]["resourceVersion"] = str(self.version)
        self.events.append((self.version, path, kind, json.loads(json.dumps(each))))
        self.changed.notify_all()

    def _handler(self):
        kube = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                try:
                    kube._answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, *_words):
                pass

        return Handler

    def _answer(self, handler):
        address = urlsplit(handler.path)
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        with self.changed:
            self.asked.append((address.path, query, handler.headers.get("Authorization")))
            self.changed.notify_all()
            fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, tuple):
            return send(handler, *fault)
        if isinstance(fault, bytes):
            return self._trickle(handler, fault)
        if (
            self.tokens is not None
            and handler.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens
        ):
            return refuse(handler, 401, "Unauthorized", "Unauthorized")
        if address.path not in self.objects:
            return self._get(handler, address.path)
        if query.get("watch"):
            return self._watch(handler, address.path, query)
        return self._list(handler, address.path, query)

    def _get(self, handler, path):
        folder, _, name = path.rpartition("/")
        found = [each for each in self.objects.get(folder, {}).values() if each["metadata"]["name"] == name]
        if not found:
            return refuse(handler, 404, "NotFound", f"{name} not found")
        return send(handler, 200, {}, json.dumps(found[0]))

    def _list(self, handler, path, query):
        with self.changed:
            start, at = (int(part) for part in query.get("continue", f"0.{self.version}").split("."))
            if at < self.oldest:
                return refuse(handler, 410, "Expired", "The provided continue parameter is too old")
            wanted = query.get("resourceVersion", "")
            if wanted and int(wanted) > self.version:
                return refuse(handler, 504, "Timeout", "Too large resource version", "ResourceVersionTooLarge")
            chosen = [each for each in self.objects[path].values() if selected(each, query)]
            end = start + int(query.get("limit", "500"))
            metadata = {"resourceVersion": str(at)}
            if end < len(chosen):
                metadata["continue"] = f"{end}.{at}"
            page = {"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": chosen[start:end]}
            body = json.dumps(page)
        return send(handler, 200, {}, body)

    def _watch(self, handler, path, query):
        seen = int(query["resourceVersion"])
        if seen < self.oldest:
            return refuse(handler, 410, "Expired", "too old resource version")
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.flush()
        with self.changed:
            position = next((i for i, event in enumerate(self.events) if event[0] > seen), len(self.events))
            self.open_watches += 1
            self.changed.notify_all()
        try:
            self._stream(handler, path, query, position)
        finally:
            with self.changed:
                self.open_watches -= 1

    def _stream(self, handler, path, query, position):
        while True:
            with self.changed:
                self.changed.wait_for(partial(self._due, position), 5)
                if self.closing:
                    handler.close_connection = True
                    return None
                events, position = self.events[position:], len(self.events)
                expired = self.oldest == self.version and not events
            if expired:
                status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
                chunk(handler, {"type": "ERROR", "object": status})
                return handler.wfile.write(b"0\r\n\r\n")
            for _, of, kind, each in events:
                if kind == "CUT":
                    handler.close_connection = True
                    return None
                if of == path and (kind == "BOOKMARK" or selected(each, query)):
                    chunk(handler, {"type": kind, "object": each})
                if kind == "END":
                    return handler.wfile.write(b"0\r\n\r\n")

    def _due(self, position):
        return self.closing or len(self.events) > position or self.oldest == self.version

    def _trickle(self, handler, said):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(said), 65536):
            piece = said[start : start + 65536]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.flush()
        handler.close_connection = True


def selected(each, query):
    for term in query.get("fieldSelector", "").split(","):
        if term:
            key, _, value = term.partition("=")
            found = each
            for part in key.split("."):
                found = found.get(part, {})
            if found != value:
                return False
    return True


def chunk(handler, event):
    line = json.dumps(event).encode() + b"\n"
    # in two pieces, as the network may cut it anywhere
    for piece in (line[: len(line) // 2], line[len(line) // 2 :]):
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    handler.wfile.flush()


def send(handler, status, headers, body):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body.encode())))
    handler.end_headers()
    handler.wfile.write(body.encode())


def refuse(handler, status, reason, message, cause=None):
    causes = {"details": {"causes": [{"reason": cause}]}} if cause else {}
    body = {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status, **causes}
    send(handler, status, {}, json.dumps(body))
