"""AWS's price list, EC2 and CloudTrail on the loopback, in the shapes that botocore reads: JSON 1.1 and EC2's XML, with
pages.
"""

import json
import threading
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

EC2 = "http://ec2.amazonaws.com/doc/2016-11-15/"


def product(usd="55.0400000000", *, unit="Hrs", since="2026-11-01T00:00:00Z", currency="USD", **attributes):
    """A product of the price list, as the JSON string that it comes in."""
    dimension = {"unit": unit, "beginRange": "0", "endRange": "Inf", "pricePerUnit": {currency: usd}}
    term = {"priceDimensions": {"SKU.TERM.RATE": dimension}, "effectiveDate": since, "sku": "SKU"}
    return json.dumps(
        {
            "product": {"productFamily": "Compute Instance", "attributes": attributes, "sku": "SKU"},
            "serviceCode": "AmazonEC2",
            "terms": {"OnDemand": {"SKU.TERM": term}, "Reserved": {}},
        }
    )


def spot(usd, when, zone="us-east-1a", instance_type="p5.48xlarge"):
    """An entry of the spot price history."""
    return (
        f"<item><availabilityZone>{zone}</availabilityZone><instanceType>{instance_type}</instanceType>"
        f"<productDescription>Linux/UNIX</productDescription><spotPrice>{usd}</spotPrice>"
        f"<timestamp>{when}</timestamp></item>"
    )


def shape(instance_type, vcpus, memory_mib, gpus, model, gpu_memory_mib):
    """An entry of the instance types."""
    gpu = (
        f"<item><name>{model}</name><manufacturer>NVIDIA</manufacturer><count>{gpus}</count>"
        f"<memoryInfo><sizeInMiB>{gpu_memory_mib}</sizeInMiB></memoryInfo></item>"
    )
    return (
        f"<item><instanceType>{instance_type}</instanceType>"
        f"<vCpuInfo><defaultVCpus>{vcpus}</defaultVCpus></vCpuInfo>"
        f"<memoryInfo><sizeInMiB>{memory_mib}</sizeInMiB></memoryInfo>"
        f"<gpuInfo><gpus>{gpu}</gpus></gpuInfo></item>"
    )


def instance(instance_id, launched, state="running", *, reason="", instance_type="p5.48xlarge", lifecycle="", name=""):
    """A reservation of one instance."""
    spot_or_not = f"<instanceLifecycle>{lifecycle}</instanceLifecycle>" if lifecycle else ""
    return (
        f"<item><reservationId>r-1</reservationId><instancesSet><item><instanceId>{instance_id}</instanceId>"
        f"<instanceState><code>0</code><name>{state}</name></instanceState><privateDnsName>{name}</privateDnsName>"
        f"<reason>{reason}</reason><instanceType>{instance_type}</instanceType><launchTime>{launched}</launchTime>"
        f"<placement><availabilityZone>us-east-1a</availabilityZone></placement>{spot_or_not}"
        "</item></instancesSet></item>"
    )


def recorded(name, when, *items, **more):
    """An event of CloudTrail: (when, name, record); ``items`` are of its answer's ``instancesSet``."""
    record = {
        "eventID": f"{name}-{when}",
        "eventTime": when,
        "eventName": name,
        "eventSource": "ec2.amazonaws.com",
        "responseElements": {"instancesSet": {"items": list(items)}} if items else None,
        **more,
    }
    return datetime.fromisoformat(when), name, json.dumps(record)


class AwsServer:
    """``products`` by (type, region), ``spot`` entries, ``shapes``, ``instances`` and events of the ``trail``, in pages
    of two; ``refuse`` names errors that are answered first, ``deny`` those of one action.
    """

    def __init__(self):
        self.products = {}
        self.spot = []
        self.shapes = []
        self.instances = []
        self.trail = []
        self.refuse = []
        self.deny = {}
        self.asked = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                target = self.headers.get("X-Amz-Target", "")
                status, kind, answer = server.answer(target, body)
                data = answer.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        return Handler

    def answer(self, target, body):
        if target.endswith("LookupEvents"):
            return self._lookup(json.loads(body))
        if target:
            return self._price_list(json.loads(body))
        return self._ec2({key: values[0] for key, values in parse_qs(body).items()})

    def _price_list(self, asked):
        self.asked.append(asked)
        if self.refuse:
            code = self.refuse.pop(0)
            return 400, "application/x-amz-json-1.1", json.dumps({"__type": code, "message": "no"})
        terms = {each["Field"]: each["Value"] for each in asked["Filters"]}
        found = self.products.get((terms["instanceType"], terms["regionCode"]), [])
        page, token = _page(found, asked.get("NextToken", ""))
        answer = {"FormatVersion": "aws_v1", "PriceList": page} | ({"NextToken": token} if token else {})
        return 200, "application/x-amz-json-1.1", json.dumps(answer)

    def _lookup(self, asked):
        self.asked.append(asked)
        code = self.refuse.pop(0) if self.refuse else self.deny.get("LookupEvents")
        if code:
            return 400, "application/x-amz-json-1.1", json.dumps({"__type": code, "message": "no"})
        (wanted,) = asked["LookupAttributes"]
        found = [
            {"EventId": "e", "EventName": name, "EventTime": when.timestamp(), "CloudTrailEvent": record}
            for when, name, record in sorted(self.trail, reverse=True)
            if name == wanted["AttributeValue"] and asked["StartTime"] <= when.timestamp() <= asked["EndTime"]
        ]
        page, token = _page(found, asked.get("NextToken", ""))
        return 200, "application/x-amz-json-1.1", json.dumps({"Events": page} | ({"NextToken": token} if token else {}))

    def _ec2(self, asked):
        self.asked.append(asked)
        code = self.refuse.pop(0) if self.refuse else self.deny.get(asked["Action"])
        if code:
            said = f"<Code>{code}</Code><Message>no</Message>"
            return 400, "text/xml", f"<Response><Errors><Error>{said}</Error></Errors></Response>"
        name, entries, items = {
            "DescribeSpotPriceHistory": ("DescribeSpotPriceHistoryResponse", self.spot, "spotPriceHistorySet"),
            "DescribeInstanceTypes": ("DescribeInstanceTypesResponse", self.shapes, "instanceTypeSet"),
            "DescribeInstances": ("DescribeInstancesResponse", self.instances, "reservationSet"),
        }[asked["Action"]]
        page, token = _page(entries, asked.get("NextToken", ""))
        body = f"<{items}>{''.join(page)}</{items}><nextToken>{token}</nextToken>"
        return 200, "text/xml", f'<{name} xmlns="{EC2}">{body}</{name}>'


def _page(found, token):
    start = int(token or 0)
    return found[start : start + 2], str(start + 2) if start + 2 < len(found) else ""
