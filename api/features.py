"""Handler of /api/v1/features: what this server can do, for clients that ask before they try.

From: `routes.py`.   To: `views.AppView`, `promql.signatures`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.parts import PARTS
from api.replies import success
from promql.signatures import SIGNATURES

if TYPE_CHECKING:
    from aiohttp import web

EXPERIMENTAL = "promql-experimental-functions"


async def features(request: web.Request) -> web.Response:
    """Answer /api/v1/features: true for what may be used as the server runs now."""
    parts = request.app[PARTS]
    options, on = parts.options, parts.engine.options.features
    return success(
        request,
        {
            "api": {
                "admin": options.enable_admin_api,
                "exclude_alerts": True,
                "label_values_match": True,
                "lifecycle": options.enable_lifecycle,
                "notifications": True,
                "openapi": True,
                "otlp_write_receiver": False,
                "query_stats": True,
                "query_warnings": True,
                "remote_read": True,
                "remote_write_receiver": options.enable_remote_write_receiver,
                "search": options.search,
                "time_range_labels": True,
                "time_range_series": True,
            },
            "promql": {
                "anchored": "promql-extended-range-selectors" in on,
                "at_modifier": True,
                "duration_expr": True,
                "experimental_functions": EXPERIMENTAL in on,
                "fill_modifiers": "promql-binop-fill-modifiers" in on,
                "negative_offset": True,
                "per_query_lookback_delta": True,
                "smoothed": "promql-extended-range-selectors" in on,
                "subqueries": True,
            },
            "promql_functions": {
                name: not signature.experimental or EXPERIMENTAL in on
                for name, signature in sorted(SIGNATURES.items())
            },
        },
    )
