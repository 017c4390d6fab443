"""A real gRPC server on a unix socket, in a process of its own: what it is told by method name, it does.

``python grpc_kubelet.py SOCKET LIST [ALLOCATABLE]``, each an answer in hex, ``!STATUS`` or ``!slow``; without the last
it does not have that method. Prints one line when it listens, ends when its input is closed.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

CODES = {code.name: code for code in grpc.StatusCode}


class Handlers(grpc.GenericRpcHandler):
    def __init__(self, listed, allocatable=None):
        self.lister = {"List": action_of(listed)}
        if allocatable is not None:
            self.lister["GetAllocatableResources"] = action_of(allocatable)

    def service(self, details):
        service, _, method = details.method.removeprefix("/").partition("/")
        actions = {"v1.PodResourcesLister": self.lister, "test.Errors": {method: fail(method)}}
        actions["test.Sizes"] = {method: lambda *_: b"x" * int(method)} if method.isdecimal() else {}
        actions["test.Delays"] = {"Slow": slow}
        actions["test.Echo"] = {"Echo": lambda request, _: request}
        action = actions.get(service, {}).get(method)
        return None if action is None else grpc.unary_unary_rpc_method_handler(action)


def action_of(told):
    if told.startswith("!"):
        return slow if told == "!slow" else fail(told[1:])
    answer = bytes.fromhex(told)
    return lambda *_: answer


def fail(name):
    def action(_request, context):
        context.abort(CODES[name], "first line\nü 100%")

    return action


def slow(_request, context):
    while context.is_active():
        time.sleep(0.01)
    return b""


def main():
    socket_path, *answers = sys.argv[1:]
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers((Handlers(*answers),))
    server.add_insecure_port(f"unix:{socket_path}")
    server.start()
    print("listening", flush=True)
    sys.stdin.read()
    server.stop(None).wait()


if __name__ == "__main__":
    main()
