"""Settings of what is asked of a cloud: its prices, and when instances began and ended."""

from typing import Literal

from collectors.setting import BaseModel, ConfigDict, Field, field_validator
from collectors.web_address import web_address


class LivePriceSettings(BaseModel):
    """List and spot prices from the cloud's own interfaces: after configured prices, before the bundled list. And when
    instances began and ended, by the same interfaces.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    aws: Literal["auto", "off"] = "auto"
    """`auto` asks AWS for the instance types and regions that nodes are seen in, by boto3's own chain of credentials
    (rights: `pricing:GetProducts`, `ec2:DescribeSpotPriceHistory`, `ec2:DescribeInstanceTypes`); `off` asks nobody."""
    interval_hours: int = Field(default=6, ge=1, le=24 * 7)
    """Hours between two readings. Neither interface costs anything."""
    stale_after_hours: int = Field(default=36, ge=1, le=24 * 90)
    """Hours after the last reading for which a price is carried forward; later it is used, and said to be stale."""
    attempts: int = Field(default=4, ge=1, le=20)
    """How often one request is sent at most, when AWS throttles or fails."""
    pricing_url: str = ""
    """Another endpoint of the price list, such as a VPC endpoint."""
    ec2_url: str = ""
    """Another endpoint of EC2, such as a VPC endpoint."""
    instances: Literal["auto", "describe", "off"] = "auto"
    """`auto` asks EC2 and CloudTrail's event history when instances began and ended, to the second, in the regions that
    nodes are seen in (rights: `ec2:DescribeInstances`, `ec2:DescribeInstanceTypes`, `cloudtrail:LookupEvents`);
    `describe` asks EC2 alone, which forgets an instance an hour after its end; `off`, or `aws: off`, asks nobody."""
    instances_minutes: int = Field(default=5, ge=1, le=50)
    """Minutes between two readings of instances. EC2 describes one for an hour after its end, no longer."""
    cloudtrail_url: str = ""
    """Another endpoint of CloudTrail, such as a VPC endpoint."""

    @field_validator("pricing_url", "ec2_url", "cloudtrail_url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        instead = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role"
        return url and web_address(url, such_as="https://vpce-0a1b.ec2.eu-west-1.vpce.amazonaws.com", instead=instead)
