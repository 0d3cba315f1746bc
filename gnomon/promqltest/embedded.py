"""What the scripts run on: an in-memory database and the engine, set up as upstream's are."""

from __future__ import annotations
