"""The API's own description, tried out by a program that reads it and makes up requests."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.timeout(700), pytest.mark.slow]

CHECKS = "status_code_conformance,content_type_conformance,response_schema_conformance"


def test_made_up_requests_are_answered_as_described(server, tmp_path):
    running = server(
        "--web.enable-admin-api",
        "--web.enable-remote-write-receiver",
        "--web.enable-otlp-receiver",
        "--web.enable-import-receivers",
    )
    running.configure({"self": f"127.0.0.1:{running.port}"})
    running.start()
    command = Path(sys.executable).with_name("schemathesis")
    base = f"{running.url}/api/v1"
    found = subprocess.run(
        [command, "run", f"{base}/openapi.yaml", "--url", base, "--no-color",
         "--phases", "coverage,fuzzing", "-n", "20", "-c", CHECKS,
         # It cannot make protobuf.
         "--exclude-path", "/write", "--exclude-path", "/read"],
        capture_output=True, text=True, timeout=600, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout[-5000:]
    assert "unexpected error" not in running.log
    assert running.query("vector(1)") == {"": 1.0}
    assert running.stop() == 0
