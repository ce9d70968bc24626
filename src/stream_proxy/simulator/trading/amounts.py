"""Money and quantities: exact decimals inside, strings on the wire."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal, InvalidOperation

ZERO = Decimal(0)
NINTH = Decimal("0.000000001")
"""Quantities and notional amounts go to nine decimals (Alpaca, "Fractional Trading")."""

_LARGEST = Decimal(10) ** 12


def amount(value: object) -> Decimal | None:
    """Read a number that came as a number or as a string; None if it is neither.

    Binary floats are read by their shortest text, so that 0.1 is a tenth.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number) <= _LARGEST else None


def text(number: Decimal) -> str:
    """The shortest decimal text: no exponent, no trailing zeros."""
    plain = format(number, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain in ("-0", "") else plain


def text_or_none(number: Decimal | None) -> str | None:
    return None if number is None else text(number)


def ninth(number: Decimal) -> Decimal:
    """Cut to nine decimals."""
    return number.quantize(NINTH, ROUND_DOWN)


def cents(number: Decimal) -> Decimal:
    return number.quantize(Decimal("0.01"))
