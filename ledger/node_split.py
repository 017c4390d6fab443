"""What part of a node's price is its GPUs': all of it, or a share beside that of CPUs and memory.

Owns the weights. A node of ``g`` GPUs, ``c`` vCPUs and ``m`` GiB gives its GPUs ``G x g / (G x g + C x c + M x m)`` of
its price, and account ``host`` the rest:

============ ======== ======== ======== ===========================================================================
``equal``     1        0        0       the node's whole price goes to its GPUs
``aws``       9        0.9      0.1     AWS split cost allocation: GPUs 9 to 1 with the rest, CPU 9 to 1 with memory
``opencost``  0.95     0.031611 0.00424 OpenCost's default prices of a GPU-hour, a core-hour and a GB-hour
                                        (``configs/default.json``), scaled so that they add up to the node's price
============ ======== ======== ======== ===========================================================================

On a p3.16xlarge (8 GPUs, 64 vCPUs, 488 GiB) the GPUs bear 100 %, 40.4 % and 65.0 %.
"""

from enum import StrEnum

import polars as pl

_MIB_PER_GIB = 1024


class NodeSplit(StrEnum):
    """How a node's price is split."""

    EQUAL = "equal"
    AWS = "aws"
    OPENCOST = "opencost"


_WEIGHTS = {NodeSplit.AWS: (90, 9, 1), NodeSplit.OPENCOST: (950_000, 31_611, 4_237)}
"""Of a GPU, a vCPU, a GiB; whole numbers."""


def gpu_weight(split: NodeSplit) -> pl.Expr:
    """The weight of the node's GPUs together, from ``gpu_count``; Int128."""
    gpu, _, _ = _WEIGHTS.get(split, (1, 0, 0))
    return pl.col("gpu_count").cast(pl.Int128) * gpu * _MIB_PER_GIB


def host_weight(split: NodeSplit) -> pl.Expr:
    """The weight of the rest, from ``vcpus`` and ``memory_mib``; 0 where one of them is not known, since a guess would
    be neither's.
    """
    _, cpu, gib = _WEIGHTS.get(split, (1, 0, 0))
    vcpus, memory_mib = pl.col("vcpus").cast(pl.Int128), pl.col("memory_mib").cast(pl.Int128)
    return (vcpus * cpu * _MIB_PER_GIB + memory_mib * gib).fill_null(0)
