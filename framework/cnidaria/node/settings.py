"""Where things are on this node. Environment over defaults; the conflists say everything else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

STATE_DIR = "/run/cnidaria"
CONF_DIR = "/etc/cni/net.d"
BIN_DIR = "/opt/cni/bin"


class SettingsError(ValueError):
    """What the environment says cannot be; the text names the variable and what is allowed."""


@dataclass(frozen=True)
class Settings:
    """Paths and limits of one node.

    Attributes:
        state_dir: journal and lock; must not outlive the kernel state, so on a tmpfs.
        socket: where the agent listens.
        conf_dir: the directory that the runtime reads its conflists from.
        timeout: seconds until a call is given up.
        metrics: address and port where the agent tells a scraper by HTTP; :func:`listen`.
    """

    state_dir: Path = Path(STATE_DIR)
    socket: Path = Path(STATE_DIR, "agent.sock")
    conf_dir: Path = Path(CONF_DIR)
    timeout: float = 60.0
    metrics: tuple[str, int] | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Read ``CNIDARIA_STATE_DIR``, ``_SOCKET``, ``_CONF_DIR`` and ``_TIMEOUT``.

        Raises:
            SettingsError: the timeout is no positive number.
        """
        state = Path(env.get("CNIDARIA_STATE_DIR", STATE_DIR))
        timeout = env.get("CNIDARIA_TIMEOUT", "60")
        try:
            seconds = float(timeout)
        except ValueError:
            seconds = 0.0
        if not seconds > 0:
            problem = "must be a number of seconds above 0"
            raise SettingsError(f"CNIDARIA_TIMEOUT = {timeout!r}: {problem}")
        return cls(
            state_dir=state,
            socket=Path(env.get("CNIDARIA_SOCKET", state / "agent.sock")),
            conf_dir=Path(env.get("CNIDARIA_CONF_DIR", CONF_DIR)),
            timeout=seconds,
        )


def listen(name: str, text: str) -> tuple[str, int] | None:
    """Address and port of ``127.0.0.1:9469`` or ``[::1]:9469``; ``None`` of an empty text.

    Args:
        name: of the setting, for errors.

    Raises:
        SettingsError: it is neither.
    """
    if not text:
        return None
    host, _, port = text.rpartition(":")
    inside = host[1:-1] if host[:1] + host[-1:] == "[]" else host
    try:
        address = ip_address(inside)
        if (address.version == 6) is (inside is host) or not port.isascii() or not port.isdigit():
            raise ValueError(text)
        if not 0 < int(port) < 1 << 16:
            raise ValueError(port)
    except ValueError:
        problem = "must be an address and a port, such as 127.0.0.1:9469 or [::1]:9469"
        raise SettingsError(f"{name} = {text!r}: {problem}") from None
    return inside, int(port)
