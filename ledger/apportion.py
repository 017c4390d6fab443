"""Integer apportioning by largest remainder: the parts add up to the whole, always.

The method is Hamilton's: each part gets the floor of its exact share; what is left goes, one unit each, to the
largest fractional remainders, ties to the earlier part.
"""

from collections.abc import Sequence


def apportion(whole: int, weights: Sequence[int]) -> list[int]:
    """Split ``whole`` in proportion to ``weights``.

    Args:
        whole: the amount, any sign, in indivisible units (nanoseconds, millijoules, nano-dollars).
        weights: non-negative integers. When all are zero the parts are as equal as integers allow.

    Returns:
        One integer per weight; their sum is ``whole`` exactly, and each differs from its exact share by less than 1.

    Raises:
        ValueError: there are no weights, or one is negative.
    """
    if len(weights) == 1:
        if weights[0] < 0:
            raise ValueError(f"apportion: weights must not be negative: {weights}")
        return [whole]
    if not weights or (least := min(weights)) < 0:
        raise ValueError(f"apportion: needs non-negative weights, got {list(weights)}")
    sign, amount = (1, whole) if whole >= 0 else (-1, -whole)
    if least == max(weights):
        floor, left = divmod(amount, len(weights))
        return [sign * (floor + 1)] * left + [sign * floor] * (len(weights) - left)
    total = sum(weights)
    floors = [amount * weight // total for weight in weights]
    left = amount - sum(floors)
    if left:
        # Least of the negated remainders first; the sort keeps the order of equals.
        owed = [floor * total - amount * weight for floor, weight in zip(floors, weights, strict=True)]
        for place in sorted(range(len(weights)), key=owed.__getitem__)[:left]:
            floors[place] += 1
    return floors if sign > 0 else [-part for part in floors]
