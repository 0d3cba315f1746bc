"""A server that scrapes what prometheus-operator's objects ask for, without an operator."""

import pytest

from tests.end_to_end.processes import Server, until

CONFIG = """
global: {scrape_interval: 500ms}
kubernetes_monitor_configs:
- files: [monitors/*.yml]
scrape_configs: []
"""
MONITOR = """
kind: ScrapeConfig
metadata: {name: NAME, namespace: n}
spec:
  jobName: JOB
  staticConfigs: [{targets: ["TARGET"]}]
"""


@pytest.mark.timeout(240)
def test_monitors_of_files_come_and_go_on_a_running_server(tmp_path):
    server = Server(tmp_path)
    folder = tmp_path / "monitors"
    folder.mkdir()
    server.config_file.write_text(CONFIG)

    def write(name, job):
        target = f"127.0.0.1:{server.port}"
        text = MONITOR.replace("NAME", name).replace("JOB", job).replace("TARGET", target)
        (folder / f"{name}.yml").write_text(text)

    def pools():
        return {
            target["scrapePool"]: target["labels"]["job"]
            for target in server.api("targets")["activeTargets"]
        }

    def metrics():
        return server.get("/metrics")[1].decode().splitlines()

    write("a", "first")
    try:
        server.start()
        until(lambda: pools() == {"scrapeConfig/n/a": "first"}, "the first monitor")
        until(lambda: server.query('up{job="first"} == 1'), "a scrape")
        write("b", "second")
        both = {"scrapeConfig/n/a": "first", "scrapeConfig/n/b": "second"}
        until(lambda: pools() == both, "the second monitor")
        (folder / "c.yml").write_text(
            "kind: ScrapeConfig\nmetadata: {name: c}\nspec: {ec2SDConfigs: [{}]}\n"
        )
        broken = 'gnomon_kubernetes_monitors{kind="ScrapeConfig",used="false"} 1'
        until(lambda: broken in metrics(), "the broken one to be counted")
        told = [one["text"] for one in server.api("notifications")]
        assert told == ["ScrapeConfig default/c is not used: ec2SDConfigs are not supported"]
        (folder / "a.yml").unlink()
        until(lambda: pools() == {"scrapeConfig/n/b": "second"}, "the first to go")
        server.config_file.write_text("global: {scrape_interval: 500ms}\n")
        server.process.send_signal(1)
        until(lambda: pools() == {}, "the reload")
        assert server.stop() == 0
        assert "Task was destroyed" not in server.log
    finally:
        server.end()
