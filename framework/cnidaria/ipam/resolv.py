"""A resolver's configuration file (resolv.conf(5)) as the ``dns`` of a result."""

from __future__ import annotations

import os
import stat
from typing import Final

from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.records import Dns

MAX_BYTES: Final = 64 << 10
"""So much of the file is read."""


def read_resolv_conf(path: str) -> Dns:
    """The settings of the file ``path``.

    Raises:
        CniError: code 5; it cannot be read.
    """
    try:
        # A FIFO must not hold up an ADD.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(fd, encoding="utf-8", errors="replace") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError("not a regular file")
            return parse_resolv_conf(file.read(MAX_BYTES))
    except OSError as error:
        problem = error.strerror or str(error)
        raise CniError(Code.IO_FAILURE, f'ipam.resolvConf = "{path}": {problem}') from error


def parse_resolv_conf(text: str) -> Dns:
    """As host-local reads it: the last ``domain`` counts, all else adds up."""
    nameservers: list[str] = []
    search: list[str] = []
    options: list[str] = []
    domain = ""
    for line in text.splitlines():
        match line.split():
            case [word, *_] if word[0] in "#;":
                continue
            case ["nameserver", server, *_]:
                nameservers.append(server)
            case ["domain", name, *_]:
                domain = name
            case ["search", *names]:
                search += names
            case ["options", *more]:
                options += more
    return Dns(tuple(nameservers), domain, tuple(search), tuple(options))
