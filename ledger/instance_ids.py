"""From the resource that a bill names to the instance as nodes know it: one pattern for each provider's form.

A line of a scale set as a whole, a volume or a load balancer is of no instance.
"""

import polars as pl

AWS = r"^(?:arn:aws[a-z-]*:ec2:[a-z0-9-]*:\d*:instance/)?(i-[0-9a-z]{8,32})$"
"""Bills that were made anonymous have letters past f."""
AZURE = (
    r"(?i)^(/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Compute/"
    r"(?:virtualMachineScaleSets/[^/]+/)?virtualMachines/[^/]+)$"
)
GCP = (
    r"^(?://compute\.googleapis\.com/|https://(?:www|compute)\.googleapis\.com/compute/v1/)?"
    r"projects/[^/]+/(?:zones/[^/]+/)?instances?/([^/]+)$"
)


def instance_id(resource: pl.Expr) -> pl.Expr:
    """The instance's id, empty where the resource is none.

    AWS: ``i-...``. Azure: the machine's path in small letters, since its case differs from export to export. Google
    Cloud: number or name, as the bill has it.
    """
    azure = resource.str.extract(AZURE).str.to_lowercase()
    return pl.coalesce(resource.str.extract(AWS), azure, resource.str.extract(GCP), pl.lit(""))
