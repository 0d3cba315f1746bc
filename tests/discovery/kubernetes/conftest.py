import pytest

from discovery.kubernetes import watches


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Nobody waits for seconds."""
    monkeypatch.setattr(watches, "BACKOFF_S", (0.02, 0.1))
    monkeypatch.setattr(watches, "_SHORT_S", 0.05)
