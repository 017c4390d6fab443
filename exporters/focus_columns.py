"""Columns of the FOCUS 1.2 export, and the words that wattledger's own terms become there.

Owns names, types and the tables of words; :mod:`exporters.focus` fills them.
"""

import polars as pl

from ledger.stack_layers import COMPUTE, DATA_GOVERNANCE, MODEL_TOOLCHAIN, ORCHESTRATION, SERVING_OBSERVABILITY, STORAGE
from ledger.tables import TIME, Columns

VERSION = "1.2"
CURRENCY = "USD"
UNBILLED = "unbilled"
"""Billing account of what no bill has come for."""
ON_PREMISES = "On-premises"

MONEY = pl.Decimal(38, 9)
"""Nano-dollars are its last digit, so nothing is rounded."""
RATE = pl.Decimal(38, 12)

FOCUS: Columns = {
    "AvailabilityZone": pl.String,
    "BilledCost": MONEY,
    "BillingAccountId": pl.String,
    "BillingAccountName": pl.String,
    "BillingAccountType": pl.String,
    "BillingCurrency": pl.String,
    "BillingPeriodEnd": TIME,
    "BillingPeriodStart": TIME,
    "CapacityReservationId": pl.String,
    "CapacityReservationStatus": pl.String,
    "ChargeCategory": pl.String,
    "ChargeClass": pl.String,
    "ChargeDescription": pl.String,
    "ChargeFrequency": pl.String,
    "ChargePeriodEnd": TIME,
    "ChargePeriodStart": TIME,
    "CommitmentDiscountCategory": pl.String,
    "CommitmentDiscountId": pl.String,
    "CommitmentDiscountName": pl.String,
    "CommitmentDiscountQuantity": RATE,
    "CommitmentDiscountStatus": pl.String,
    "CommitmentDiscountType": pl.String,
    "CommitmentDiscountUnit": pl.String,
    "ConsumedQuantity": RATE,
    "ConsumedUnit": pl.String,
    "ContractedCost": MONEY,
    "ContractedUnitPrice": RATE,
    "EffectiveCost": MONEY,
    "InvoiceId": pl.String,
    "InvoiceIssuerName": pl.String,
    "ListCost": MONEY,
    "ListUnitPrice": RATE,
    "PricingCategory": pl.String,
    "PricingCurrency": pl.String,
    "PricingCurrencyContractedUnitPrice": RATE,
    "PricingCurrencyEffectiveCost": MONEY,
    "PricingCurrencyListUnitPrice": RATE,
    "PricingQuantity": RATE,
    "PricingUnit": pl.String,
    "ProviderName": pl.String,
    "PublisherName": pl.String,
    "RegionId": pl.String,
    "RegionName": pl.String,
    "ResourceId": pl.String,
    "ResourceName": pl.String,
    "ResourceType": pl.String,
    "ServiceCategory": pl.String,
    "ServiceName": pl.String,
    "ServiceSubcategory": pl.String,
    "SkuId": pl.String,
    "SkuMeter": pl.String,
    "SkuPriceDetails": pl.String,
    "SkuPriceId": pl.String,
    "SubAccountId": pl.String,
    "SubAccountName": pl.String,
    "SubAccountType": pl.String,
    "Tags": pl.String,
}
"""The 57 columns of FOCUS 1.2."""

OWN: Columns = {
    "x_Cluster": pl.String,
    "x_Node": pl.String,
    "x_InstanceType": pl.String,
    "x_CapacityType": pl.String,
    "x_GpuModel": pl.String,
    "x_HolderKind": pl.String,
    "x_Holder": pl.String,  # where no workload is known
    "x_Namespace": pl.String,
    "x_WorkloadKind": pl.String,
    "x_Workload": pl.String,
    "x_Team": pl.String,
    "x_Environment": pl.String,
    "x_Run": pl.String,
    "x_Account": pl.String,
    "x_Charge": pl.String,
    "x_StackLayer": pl.String,
    "x_ListCost": MONEY,  # as the ledger has it; null where it knows none, or where another row bears it
    "x_Source": pl.String,  # measured, simulated or prometheus; null of what is of no hour of a node
    "x_Estimate": pl.Boolean,  # no bill has come: the cost is list price
    "x_GpuHours": RATE,
    "x_GpuSeconds": MONEY,  # exact, to the nanosecond
    "x_EnergyKwh": RATE,
    "x_CarbonGrams": RATE,
    "x_EmbodiedGrams": RATE,
}
"""What FOCUS has no word for."""

PROVIDERS = {"aws": "AWS", "azure": "Microsoft", "gcp": "Google Cloud", "": ON_PREMISES}

CATEGORIES = {
    "list": "Usage",
    "usage": "Usage",
    "support": "Usage",
    "unused_commitment": "Usage",
    "purchase": "Purchase",
    "tax": "Tax",
    "credit": "Credit",
    "refund": "Credit",
    "adjustment": "Adjustment",
    "rounding": "Adjustment",
}
"""Charge to ChargeCategory."""

FREQUENCIES = {"Usage": "Usage-Based", "Purchase": "Recurring"}
"""ChargeCategory to ChargeFrequency; all others are One-Time."""

CAPACITY = {"on_demand": "Standard", "spot": "Dynamic", "reserved": "Committed", "commitment": "Committed"}
"""Capacity type to PricingCategory; what is not known is Other."""

GPU_SERVICE = "GPU compute"
SERVICES = {
    GPU_SERVICE: ("Compute", "Other (Compute)"),
    "Shared compute": ("Compute", "Other (Compute)"),
    "Shared storage": ("Storage", "Other (Storage)"),
    "Shared data and governance": ("Management and Governance", "Data Governance"),
    "Shared model toolchain": ("AI and Machine Learning", "AI Platforms"),
    "Shared orchestration": ("Compute", "Containers"),
    "Shared serving and observability": ("Management and Governance", "Observability"),
    "Shared": ("Other", "Other (Other)"),
}
"""ServiceName to ServiceCategory and ServiceSubcategory."""

SHARED_SERVICES = {
    COMPUTE: "Shared compute",
    STORAGE: "Shared storage",
    DATA_GOVERNANCE: "Shared data and governance",
    MODEL_TOOLCHAIN: "Shared model toolchain",
    ORCHESTRATION: "Shared orchestration",
    SERVING_OBSERVABILITY: "Shared serving and observability",
}
"""Stack layer to the ServiceName of what belongs to no node."""

DESCRIPTIONS = {
    "active": "GPU time at work",
    "idle": "GPU time held and not worked",
    "unmeasured": "GPU time held, activity not measurable",
    "unallocated": "GPU time that nobody held",
    "unattributed": "GPU time of work that no holder explains",
    "unobserved": "GPU time that was not observed",
    "system": "GPU time of the driver's and the cluster's own daemons",
    "host": "CPU, memory and the rest of the node",
    "shared": "Cost that belongs to no node",
}
"""Account to how ChargeDescription begins."""
