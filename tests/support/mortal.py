"""A process that does one thing to attachments and kills itself after so many steps.

Usage: ``mortal.py VERB DIRECTORY STEPS HOST_FD POD_FD...``. A step is a record in the journal or a
change of the kernel; ``kill -9`` comes before the next one would begin.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.netns import NetNS
from cnidaria.plan.engine import Engine
from cnidaria.plan.journal import Journal
from cnidaria.plan.store import Store

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.attachments import attachment, boottime


class Life:
    """Ends after some steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps
        self._lock = threading.Lock()

    def before(self, data: bytes) -> None:
        """A step is about to be done."""
        with self._lock:
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self._left -= 1

    def after(self, step: str) -> None:
        """A step was done."""
        self.before(b"")


def main(verb: str, directory: str, steps: str, host_fd: str, *pod_fds: str) -> None:
    life = Life(int(steps))
    store = Store(Journal(Path(directory), hook=life.after), boottime)
    engine = Engine(store, lambda namespace: Kernel(namespace, life.before), boottime)
    host = NetNS.from_fd(int(host_fd))
    pods = [NetNS.from_fd(int(fd)) for fd in pod_fds]

    def do(n: int) -> None:
        wanted = attachment(n + 1, pods[n], request_id=bytes([n + 1]))
        if verb == "ADD":
            engine.attach(wanted, host, pods[n])
        else:
            engine.detach(wanted.key, host, pods[n])

    with ThreadPoolExecutor(len(pods)) as threads:
        list(threads.map(do, range(len(pods))))


if __name__ == "__main__":
    main(*sys.argv[1:])
