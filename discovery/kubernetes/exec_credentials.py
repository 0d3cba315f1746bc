"""Credentials that a program prints: exec plugins, as clouds give them to kubectl.

From: `kubeconfig.py`.   To: `access.py`.
Source: Kubernetes documentation, `client-authentication.k8s.io/v1`, ExecCredential.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from discovery.kubernetes.kubeconfig import AccessError

if TYPE_CHECKING:
    from discovery.kubernetes.kubeconfig import ExecCommand

TIMEOUT_S = 60.0
"""A plugin that takes longer is ended; a guess, they ask their cloud and answer within seconds."""

_EARLY_S = 10.0
"""How long before their end credentials count as expired: a request under way needs them too."""


@dataclass(frozen=True, slots=True)
class ExecCredential:
    """What a plugin gave. `expires_s` since the epoch; None: until they are refused."""

    token: str
    certificate: str
    key: str
    expires_s: float | None


@dataclass(slots=True)
class ExecPlugin:
    """Runs a command when its last credentials are used up. Blocking; thread-safe."""

    command: ExecCommand
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _last: ExecCredential | None = None

    def credential(self) -> ExecCredential:
        """Return valid credentials. Raises AccessError."""
        with self._lock:
            last = self._last
            if last is None or (last.expires_s or time.time() + 60) - _EARLY_S < time.time():
                self._last = last = self._run()
            return last

    def forget(self) -> None:
        """Run the command anew for the next request: the server refused what it gave."""
        with self._lock:
            self._last = None

    def _run(self) -> ExecCredential:
        command = self.command
        spec = {"interactive": False} | ({"cluster": command.cluster} if command.cluster else {})
        asked = {"kind": "ExecCredential", "apiVersion": command.api_version, "spec": spec}
        environment = {
            **os.environ,
            **command.environment,
            "KUBERNETES_EXEC_INFO": json.dumps(asked),
        }
        try:
            # The command is the kubeconfig's, which is the administrator's.
            done = subprocess.run(
                [command.command, *command.arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError as e:
            hint = f" ({command.install_hint.strip()})" if command.install_hint else ""
            raise AccessError(f"exec plugin {command.command} is not installed{hint}") from e
        except (OSError, subprocess.TimeoutExpired) as e:
            raise AccessError(f"exec plugin {command.command}: {e}") from e
        if done.returncode:
            # Standard error is the plugin's place for words; standard output may hold secrets.
            said = done.stderr.decode(errors="replace").strip()[-500:]
            raise AccessError(f"exec plugin {command.command} ended with {done.returncode}: {said}")
        return _parsed(done.stdout, command)


def _parsed(output: bytes, command: ExecCommand) -> ExecCredential:
    try:
        answer = json.loads(output)
        if answer.get("apiVersion") != command.api_version:
            raise AccessError(
                f"exec plugin {command.command} is configured to use API version"
                f" {command.api_version}, plugin returned version {answer.get('apiVersion')}"
            )
        status = answer.get("status") or {}
        until = status.get("expirationTimestamp")
        expires_s = None
        if until:
            expires_s = datetime.fromisoformat(until.replace("Z", "+00:00")).timestamp()
        found = ExecCredential(
            token=status.get("token") or "",
            certificate=status.get("clientCertificateData") or "",
            key=status.get("clientKeyData") or "",
            expires_s=expires_s,
        )
    except (ValueError, AttributeError, TypeError):
        raise AccessError(f"exec plugin {command.command} printed no ExecCredential") from None
    if not found.token and not found.certificate:
        raise AccessError(f"exec plugin {command.command} gave neither token nor certificate")
    if bool(found.certificate) != bool(found.key):
        raise AccessError(f"exec plugin {command.command} gave half of a certificate and key")
    return found
