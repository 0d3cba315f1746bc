"""Secrets of the configuration stay there: neither an answer nor a line of the log has them."""

from __future__ import annotations

import base64
import re

import bcrypt
import pytest

from tests.end_to_end.processes import until

pytestmark = pytest.mark.timeout(240)

NOBODY = "127.0.0.1:1"
"""Every connection fails, so that every part has something to say."""

CONFIG = f"""
global: {{scrape_interval: 500ms}}
scrape_configs:
- job_name: basic
  basic_auth: {{username: u, password: hidden-1}}
  params: {{a: [b]}}
  static_configs: [{{targets: ["{NOBODY}"]}}]
- job_name: bearer
  authorization: {{credentials: hidden-2}}
  proxy_url: http://pu:hidden-3@{NOBODY}/
  static_configs: [{{targets: ["{NOBODY}"]}}]
- job_name: oauth
  oauth2: {{client_id: i, client_secret: hidden-4, token_url: "http://tu:hidden-5@{NOBODY}/t"}}
  static_configs: [{{targets: ["{NOBODY}"]}}]
- job_name: headers
  http_headers: {{X-Key: {{secrets: [hidden-6]}}}}
  static_configs: [{{targets: ["{NOBODY}"]}}]
- job_name: http_sd
  http_sd_configs: [{{url: "http://hu:hidden-7@{NOBODY}/sd"}}]
- job_name: consul
  consul_sd_configs: [{{server: "{NOBODY}", token: hidden-8}}]
- job_name: kubernetes
  kubernetes_sd_configs:
  - role: pod
    api_server: http://ku:hidden-9@{NOBODY}
    authorization: {{credentials: hidden-10}}
remote_write:
- url: http://ru:hidden-11@{NOBODY}/w
- {{url: "http://{NOBODY}/w", name: two, basic_auth: {{username: u, password: hidden-12}}}}
remote_read:
- {{url: "http://rr:hidden-13@{NOBODY}/r", read_recent: true}}
"""
PASSWORD = "hidden-14"
PAGES = (
    "/api/v1/status/config", "/api/v1/status/flags", "/api/v1/status/runtimeinfo",
    "/api/v1/status/self_metrics", "/api/v1/targets", "/api/v1/query?query=up", "/metrics",
    "/api/v1/notifications", "/federate?match[]=up",
    *(f"/api/v1/scrape_pools/config?scrapePool={name}"
      for name in re.findall("job_name: (.*)", CONFIG)),
    "/api/v1/nope?password=x", "/api/v1/label/__name__/values",
)  # fmt: skip


def test_nothing_tells_a_secret(server, tmp_path):
    stored = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    web = tmp_path / "web.yml"
    web.write_text(f"basic_auth_users: {{ann: {stored}}}")
    running = server(f"--web.config.file={web}", "--web.enable-lifecycle", "--log.level=debug")
    running.config_file.write_text(CONFIG)
    running.launch()
    known = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()

    def ask(path, body=None):
        return running.get(path, body, Authorization=f"Basic {known}")

    until(lambda: _answers(ask, "/-/ready"), "the server to be ready")
    until(lambda: ask("/api/v1/targets")[1].count(b'"health":"down"') == 4, "all targets to fail")
    until(lambda: "failed to send" in running.log, "remote_write to fail")
    until(lambda: "Unable to refresh" in running.log, "http_sd to fail")
    running.config_file.write_text(CONFIG + "nonsense: hidden")
    assert ask("/-/reload", b"")[0] == 500
    shown = {path: ask(path)[1].decode() for path in PAGES}
    assert running.stop() == 0
    assert "xxxxx" in shown["/metrics"]
    for where, text in {**shown, "the log": running.log}.items():
        assert "hidden-" not in text, where
        assert stored not in text, where
        assert known not in text, where


def _answers(ask, path):
    try:
        return ask(path)[0] == 200
    except OSError:
        return False
