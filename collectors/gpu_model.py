"""Which GPU a driver's name stands for: one canonical key per model that is priced on its own.

Owns the table of names. Must never guess: a name that fits no pattern whole has no key, and so gets no price
rather than that of a namesake (a laptop part, a slice of a virtual GPU, a memory size that is sold apart).

A key names the chip and, where one chip is sold with several memories, the memory: ``H100-80GB``, ``A100-40GB``,
``T4``. Form factor (SXM, PCIe) is no part of it, because most price lists do not tell it.
"""

import re

_MAKER = re.compile(r"^(?:SIMULATED |NVIDIA |TESLA )*")
_FORM = r"(?: SXM\d?| PCIE| DGXS| FHHL)?"

# pattern over the name in capitals, with single spaces, without its maker: key, which may use the groups
_PATTERNS: tuple[tuple[str, str], ...] = (
    (rf"A100{_FORM} (40|80)GB(?: PCIE)?", r"A100-\1GB"),
    (r"(A10|A16|A2|A30|A40)(?: PCIE)?", r"\1"),
    (r"A10 24Q", "A10"),
    (r"A10G", "A10G"),
    (r"B200(?: 1[89]\dGB)?", "B200"),
    (r"B300(?: SXM6 AC)?", "B300"),
    (r"(GB[23]00)", r"\1"),
    (r"GH200(?: 480GB| 96GB)?", "GH200-96GB"),
    (r"GH200 144GB?(?: HBM3E)?", "GH200-144GB"),
    (rf"H100{_FORM}(?: 80GB)?(?: HBM3| HBM2E)?", "H100-80GB"),
    (r"H100 NVL(?: 94GB)?", "H100-NVL-94GB"),
    (r"H200(?: NVL)?(?: 141GB)?(?: HBM3E)?", "H200"),
    (r"(K80|M60|P4|P40|T4|T4G)", r"\1"),
    (r"(L4|L40|L40S)", r"\1"),
    (rf"P100{_FORM} (12|16)GB", r"P100-\1GB"),
    (rf"V100S?{_FORM} (16|32)GB", r"V100-\1GB"),
    (r"RTX (A\d{4})", r"RTX-\1"),
    (r"RTX (\d{4}) ADA GENERATION", r"RTX-\1-Ada"),
    (r"RTX PRO 6000 BLACKWELL (?:SERVER|WORKSTATION) EDITION", "RTX-PRO-6000"),
    (r"QUADRO RTX (\d{4})", r"Quadro-RTX-\1"),
    (r"GEFORCE (RTX|GTX) (\d{4})", r"GeForce-\1-\2"),
    (r"GEFORCE (RTX|GTX) (\d{4}) TI", r"GeForce-\1-\2-Ti"),
    (r"GEFORCE RTX (\d{4}) SUPER", r"GeForce-RTX-\1-Super"),
)
_TABLE = tuple((re.compile(pattern), key) for pattern, key in _PATTERNS)


def canonical_model(name: str) -> str | None:
    """The key of the GPU that the driver calls ``name``; ``None`` where the name is not known for sure.

    Names of simulated devices, such as ``Simulated H100 80GB``, give the key of what they simulate.
    """
    spoken = " ".join(name.upper().replace("-", " ").replace("_", " ").split())
    spoken = _MAKER.sub("", spoken)
    for pattern, key in _TABLE:
        if match := pattern.fullmatch(spoken):
            return match.expand(key)
    return None
