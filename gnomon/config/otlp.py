"""The `otlp` section: how OpenTelemetry's metrics become series.

From: `load.py`.   To: `api/receivers/otlp_translation.py`.
Source: Prometheus documentation, otlp; the texts are Prometheus'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api.receivers.otlp_names import STRATEGIES
from api.receivers.otlp_settings import STRATEGY_DEFAULT, OtlpSettings
from gnomon.config.document import go_quote

if TYPE_CHECKING:
    from gnomon.config.document import Section

_SWITCHES = (
    "promote_all_resource_attributes",
    "keep_identifying_resource_attributes",
    "convert_histograms_to_nhcb",
    "promote_scope_metadata",
)
_SWITCHES_ON = ("label_name_underscore_sanitization", "label_name_preserve_multiple_underscores")


def decode_otlp(section: Section | None, *, utf8: bool) -> OtlpSettings:
    """Read the section. `utf8`: names of any letters are legal."""
    if section is None:
        return OtlpSettings()
    strategy = section.string("translation_strategy") or STRATEGY_DEFAULT
    if strategy not in STRATEGIES:
        section.fail(
            f"unsupported OTLP translation strategy {go_quote(strategy)}", "translation_strategy"
        )
    if not utf8 and not STRATEGIES[strategy][0]:
        section.fail(
            f"OTLP translation strategy {go_quote(strategy)} is not allowed when UTF8 is disabled",
            "translation_strategy",
        )
    if section.boolean("promote_all_resource_attributes", False) and section.has(
        "promote_resource_attributes"
    ):
        section.fail(
            "'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be"
            " configured simultaneously",
            "promote_all_resource_attributes",
        )
    promoted = _attributes(section, "promote_resource_attributes", "promoted")
    settings = OtlpSettings(
        promote_resource_attributes=promoted,
        ignore_resource_attributes=_attributes(section, "ignore_resource_attributes", "ignored"),
        translation_strategy=strategy,
        **{name: section.boolean(name, False) for name in _SWITCHES},
        **{name: section.boolean(name, True) for name in _SWITCHES_ON},
    )
    if settings.ignore_resource_attributes and not settings.promote_all_resource_attributes:
        section.fail(
            "'ignore_resource_attributes' cannot be configured unless"
            " 'promote_all_resource_attributes' is true",
            "ignore_resource_attributes",
        )
    return settings


def _attributes(section: Section, name: str, what: str) -> tuple[str, ...]:
    found = tuple(text.strip() for text in section.strings(name))
    problems = [
        f"duplicated {what} OTel resource attribute {go_quote(text)}"
        for number, text in enumerate(found)
        if text and text in found[:number]
    ]
    problems += [f"empty {what} OTel resource attribute" for text in found if not text]
    if problems:
        section.fail(f"invalid '{name}': " + "\n".join(problems), name)
    return found


def otlp_fields(settings: OtlpSettings) -> dict[str, Any]:
    """Return the section as `/api/v1/status/config` shows it: what is not the default."""
    fields: dict[str, Any] = {}
    default = OtlpSettings()
    for name in (
        "promote_all_resource_attributes",
        "promote_resource_attributes",
        "ignore_resource_attributes",
        "translation_strategy",
        *_SWITCHES[1:],
        *_SWITCHES_ON,
    ):
        value = getattr(settings, name)
        if value != getattr(default, name) or name == "translation_strategy":
            fields[name] = list(value) if isinstance(value, tuple) else value
    return fields
