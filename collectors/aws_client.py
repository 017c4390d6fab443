"""A client of one AWS service: boto3's own chain of credentials, bounded retries, and its errors as ours.

Owns what goes wrong between us and AWS, and what to do about it. Imports boto3 only when a client is made: it takes a
quarter of a second and 34 MB. Must never hold a credential, nor log one.
"""

import importlib
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, cast

from collectors.errors import Misconfigured, Unavailable

Page = Mapping[str, Any]

CONNECT_SECONDS = 5
READ_SECONDS = 30
MOST_ATTEMPTS = 4
_MOST_PAGES = 10_000

_REFUSED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnauthorizedException"})
_THROTTLED = frozenset(
    {"Throttling", "ThrottlingException", "ThrottledException", "RequestLimitExceeded", "TooManyRequestsException"}
)
_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_CHAIN = (
    "give the controller a role (EKS: IRSA or Pod Identity; EC2: an instance profile), or AWS_PROFILE or"
    " AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY"
)


class Paginator(Protocol):
    """What botocore gives for an operation that answers in pages."""

    def paginate(self, **parameters: object) -> Iterator[Page]:
        """The pages."""
        ...


class Client(Protocol):
    """What botocore gives for a service."""

    def get_paginator(self, operation_name: str) -> Paginator:
        """The paginator of an operation."""
        ...

    def close(self) -> None:
        """End its connections."""
        ...


def client(service: str, region: str, *, endpoint_url: str | None = None, attempts: int = MOST_ATTEMPTS) -> Client:
    """A client of ``service`` in ``region``. Costs a tenth of a second: make it once.

    Args:
        service: as boto3 calls it: ``ec2``, ``pricing``, ``s3``, ``ce``.
        region: whose endpoint is asked.
        endpoint_url: another endpoint, such as a VPC endpoint.
        attempts: how often a request is sent at most, with pauses that grow, when AWS throttles or fails.

    Raises:
        Misconfigured: boto3 is not installed, or its configuration is wrong.
    """
    try:
        boto3 = importlib.import_module("boto3")
        config = importlib.import_module("botocore.config")
    except ImportError as error:
        raise Misconfigured("AWS cannot be asked without boto3: pip install 'wattledger[controller]'") from error
    settings = config.Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
    )
    with errors_of(service, region, ""):
        # not boto3's default session: that keeps the credentials that it once found
        session = boto3.Session(region_name=region)
        return cast("Client", session.client(service, endpoint_url=endpoint_url, config=settings))


def pages(asked: Client, operation: str, what: tuple[str, str, str], **parameters: object) -> Iterator[Page]:
    """The pages of an operation, one at a time.

    Args:
        asked: the client.
        operation: as botocore calls it: ``get_products``.
        what: service, region and the IAM action that it takes, for messages: ``pricing:GetProducts``.
        parameters: of the operation.

    Raises:
        Unavailable: no answer, no permission, or throttled for all attempts; the message has the remedy.
        Misconfigured: no credentials, or such as AWS does not accept.
    """
    with errors_of(*what):
        for place, page in enumerate(asked.get_paginator(operation).paginate(**parameters)):
            if place == _MOST_PAGES:
                raise Unavailable(f"AWS {what[0]} in {what[1]} answered {operation} with pages without end")
            yield page


@contextmanager
def errors_of(service: str, region: str, action: str) -> Generator[None]:
    """Turns what botocore raises inside into ``Unavailable`` or ``Misconfigured``."""
    names = importlib.import_module("botocore.exceptions")
    try:
        yield
    except names.ClientError as error:
        raise _refusal(service, region, action, error.response.get("Error", {})) from error
    except (names.NoCredentialsError, names.PartialCredentialsError, names.CredentialRetrievalError) as error:
        raise Misconfigured(f"AWS {service} in {region}: no credentials ({error}): {_CHAIN}") from error
    except (names.ProfileNotFound, names.ConfigParseError, names.TokenRetrievalError) as error:
        raise Misconfigured(f"AWS {service} in {region}: {error}: see AWS_PROFILE and ~/.aws/config") from error
    except names.BotoCoreError as error:
        raise Unavailable(
            f"AWS {service} in {region} does not answer{_to(action)} ({error}); it is asked again"
        ) from error


def _refusal(service: str, region: str, action: str, said: Mapping[str, Any]) -> Exception:
    code, message = str(said.get("Code", "")), str(said.get("Message", ""))[:200]
    answer = f"AWS {service} in {region} answered {code} ({message}){_to(action)}"
    if code in _REFUSED:
        return Unavailable(f"{answer}: allow {action} in the IAM policy of the controller's role")
    if code in _CREDENTIALS:
        return Misconfigured(f"{answer}: the credentials are not accepted; {_CHAIN}")
    if code in _THROTTLED:
        return Unavailable(f"{answer}, at each of several attempts: it is asked again later; ask for fewer regions")
    return Unavailable(f"{answer}; it is asked again")


def _to(action: str) -> str:
    return f" to {action}" if action else ""
