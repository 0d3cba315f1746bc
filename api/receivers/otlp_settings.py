"""What the configuration's `otlp` section and the flags decide about OTLP.

From: `gnomon/config/otlp.py`.   To: `otlp_translation.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from api.receivers.otlp_names import STRATEGIES, Naming

STRATEGY_DEFAULT = "UnderscoreEscapingWithSuffixes"


@dataclass(frozen=True, slots=True)
class OtlpSettings:
    """Fields are those of Prometheus' `otlp` section.

    `native_delta` is the feature `otlp-native-delta-ingestion`: deltas are stored as they come.
    `accumulate_deltas` is the feature `otlp-deltatocumulative`: they become running totals.
    `target_info_interval_ms`: so often at least `target_info` has a sample while others have.
    """

    promote_all_resource_attributes: bool = False
    promote_resource_attributes: tuple[str, ...] = ()
    ignore_resource_attributes: tuple[str, ...] = ()
    translation_strategy: str = STRATEGY_DEFAULT
    keep_identifying_resource_attributes: bool = False
    convert_histograms_to_nhcb: bool = False
    promote_scope_metadata: bool = False
    label_name_underscore_sanitization: bool = True
    label_name_preserve_multiple_underscores: bool = True
    native_delta: bool = False
    accumulate_deltas: bool = False
    target_info_interval_ms: int = 150_000

    @property
    def naming(self) -> Naming:
        """How names are made."""
        escape, suffixes = STRATEGIES[self.translation_strategy]
        return Naming(
            escape,
            suffixes,
            self.label_name_underscore_sanitization,
            self.label_name_preserve_multiple_underscores,
        )

    def promotes(self, attribute: str) -> bool:
        """Say whether a resource attribute becomes a label of all the resource's series."""
        if self.promote_all_resource_attributes:
            return attribute not in self.ignore_resource_attributes
        return attribute in self.promote_resource_attributes
