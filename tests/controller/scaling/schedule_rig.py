"""A namespace with objects on a real API server, put down as the scaler does it, and the command beside them."""

from datetime import UTC, datetime

from click.testing import CliRunner

from cli.main import main
from controller.scaling.decide import decide
from controller.scaling.model import ZERO, Size, Wish
from controller.scaling.patches import patches
from controller.scaling.registry import kind_of

NIGHT = datetime(2026, 11, 25, 21, tzinfo=UTC)


class Home:
    """One namespace."""

    def __init__(self, server, name):
        self.server = server
        self.name = name

    def make(self, item, **metadata):
        known = {key: item["metadata"][key] for key in ("name", "labels", "annotations")}
        folder = self.path(item["kind"], "").rpartition("/")[0]
        return self.server.admin.post(folder, {**item, "metadata": {**known, **metadata}, "status": {}})

    def path(self, kind_name, name="llama"):
        kind = kind_of(kind_name)
        return f"/apis/{kind.group}/{kind.versions[0]}/namespaces/{self.name}/{kind.plural}/{name}"

    def item(self, kind_name, name="llama"):
        return self.server.admin.get(self.path(kind_name, name))

    def standing(self, kind_name, name="llama"):
        found = self.item(kind_name, name)
        return found["spec"], found["metadata"].get("annotations"), found["metadata"].get("labels")

    def put_down(self, kind_name, name="llama"):
        kind = kind_of(kind_name)
        seen = kind.seen(self.item(kind_name, name))
        size = Size(1) if kind.sizes == "above_zero" else ZERO
        wish = Wish("down", "at night", "nights", size, window=NIGHT, dry_run=False)
        step = decide(seen, wish, kind, NIGHT, ready=True)
        assert step.action == "down"
        api = self.server.client()
        for patch in patches(step, seen, kind):
            subresource = "scale" if patch.place == "scale" else ""
            api.patch(self.path(kind_name, name), patch.body, subresource=subresource)


def environ(server, *, url="", user="admin"):
    """Of a command that reaches the server, straight or through a proxy."""
    found = {
        "WATTLEDGER_KUBERNETES__API_URL": url or server.url,
        "WATTLEDGER_KUBERNETES__TOKEN_FILE": str(server.token_file(user)),
    }
    return found if url else {**found, "WATTLEDGER_KUBERNETES__CA_FILE": str(server.ca)}


def run(server, *arguments, **reached):
    """`wattledger schedule` with these arguments."""
    done = CliRunner().invoke(main, ["schedule", *arguments], env=environ(server, **reached))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done
