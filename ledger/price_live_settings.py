"""Settings of the prices that are asked of a cloud."""

from typing import Literal

from collectors.setting import BaseModel, ConfigDict, Field


class LivePriceSettings(BaseModel):
    """List and spot prices from the cloud's own interfaces: after configured prices, before the bundled list."""

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
