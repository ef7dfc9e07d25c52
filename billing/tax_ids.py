"""Tax IDs as each country writes them: shape and check digits, where the rule is public.

The rules are python-stdnum's (https://arthurdejong.org/python-stdnum/), which names a source for each. Whether a number
exists, only its authority can say, and nobody is asked here. A country without a public rule takes any plausible text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stdnum import get_cc_module
from stdnum.exceptions import ValidationError

from billing import countries

_PLAUSIBLE: Final = re.compile(r"\A(?=.*[0-9])[A-Z0-9][A-Z0-9 ./&*+-]{2,31}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a country calls its number, the kind that python-stdnum checks, an example, and the letters before it."""

    name: str
    kind: str
    example: str
    prefix: str = ""


def _vat(country: str, example: str, *, prefix: str = "") -> Rule:
    return Rule("VAT number", "vat", example, prefix or country)


RULES: Final[Mapping[str, Rule]] = {
    "AT": _vat("AT", "ATU13585627"),
    "BE": _vat("BE", "BE0403019261"),
    "BG": _vat("BG", "BG175074752"),
    "CY": _vat("CY", "CY10259033P"),
    "CZ": _vat("CZ", "CZ25123891"),
    "DE": _vat("DE", "DE136695976"),
    "DK": _vat("DK", "DK13585628"),
    "EE": _vat("EE", "EE100931558"),
    "ES": _vat("ES", "ESB58378431"),
    "FI": _vat("FI", "FI20774740"),
    "FR": _vat("FR", "FR40303265045"),
    "GR": _vat("GR", "EL094259216", prefix="EL"),
    "HR": _vat("HR", "HR33392005961"),
    "HU": _vat("HU", "HU12892312"),
    "IE": _vat("IE", "IE6433435F"),
    "IT": _vat("IT", "IT00743110157"),
    "LT": _vat("LT", "LT119511515"),
    "LU": _vat("LU", "LU15027442"),
    "LV": _vat("LV", "LV40003521600"),
    "MT": _vat("MT", "MT11679112"),
    "NL": _vat("NL", "NL004495445B01"),
    "PL": _vat("PL", "PL8567346215"),
    "PT": _vat("PT", "PT501964843"),
    "RO": _vat("RO", "RO18547290"),
    "SE": _vat("SE", "SE123456789701"),
    "SI": _vat("SI", "SI50223054"),
    "SK": _vat("SK", "SK2022749619"),
    "GB": _vat("GB", "GB980780684"),
    "CH": Rule("VAT number", "vat", "CHE-107.787.577 MWST"),
    "NO": Rule("VAT number", "mva", "NO995525828MVA", "NO"),
    "IS": Rule("VSK number", "vsk", "IS00621", "IS"),
    "AU": Rule("ABN", "abn", "83 914 571 673"),
    "NZ": Rule("IRD number", "ird", "49-091-850"),
    "CA": Rule("business number", "bn", "123026635RC0001"),
    "US": Rule("EIN", "ein", "91-1144442"),
    "IN": Rule("GSTIN", "gstin", "27AAPFU0939F1ZV"),
    "JP": Rule("corporate number", "cn", "5835678256246"),
    "KR": Rule("business registration number", "brn", "116-82-00276"),
    "SG": Rule("UEN", "uen", "00192200M"),
    "BR": Rule("CNPJ", "cnpj", "16.727.230/0001-97"),
    "MX": Rule("RFC", "rfc", "GODE561231GR8"),
    "ZA": Rule("tax reference number", "tin", "0001339050"),
    "IL": Rule("company number", "hp", "516179157"),
    "TR": Rule("VKN", "vkn", "4540536920"),
}


class NotATaxId(ValueError):
    """The text is no tax ID of the country; the text of the error says what one looks like."""


def check(text: str, *, country: str) -> str:
    """The tax ID as receipts print it: in capitals, as the country writes it where its rule is known, with its letters.

    ``country`` is ISO 3166-1 alpha-2. Raises ``NotATaxId``, whose text is for the customer.
    """
    typed = text.strip().upper()
    rule = RULES.get(country)
    if rule is None:
        if _PLAUSIBLE.match(typed) is None:
            raise NotATaxId("Write the tax ID in letters and digits, like DE136695976 or 91-1144442.")
        return typed
    module, prefix = _module(country, rule), rule.prefix
    if country == "GB" and typed.startswith("XI"):
        # Northern Ireland: the British number, under letters of its own for trade with the EU.
        typed, prefix = typed[2:], "XI"
    # The library takes digits of other scripts for digits.
    asked = typed.removeprefix(prefix) if typed.isascii() else ""
    try:
        number: str = module.validate(asked)
    except (ValidationError, ValueError, IndexError, KeyError):
        raise NotATaxId(
            f"This is no {rule.name} of {countries.NAMES[country]}. One looks like {rule.example}, and its digits "
            "check each other: look for a typing error."
        ) from None
    if not prefix and hasattr(module, "format"):
        written: str = module.format(number)
        return written
    return number if number.startswith(prefix) else prefix + number


def _module(country: str, rule: Rule) -> Any:
    module = get_cc_module(country.lower(), rule.kind)
    if module is None:
        raise LookupError(f"python-stdnum has no {rule.kind} of {country} any more.")
    return module
