"""One call without an agent: the same code, under the same lock, in a process of its own.

The executable becomes this process when no agent answers (``core/exec/README.md``); the request is
on stdin, the namespaces are inherited descriptors.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

import msgpack

from cnidaria.cni import versions
from cnidaria.cni.errors import CniError, Code
from cnidaria.kernel.netns import NetNS
from cnidaria.node.frame import LENGTH, Call, Reply, body_length, parse_call, parse_reply
from cnidaria.node.settings import Settings
from cnidaria.node.state import State, open_state
from cnidaria.plan.journal import StateError
from cnidaria.plugins import PluginError, load

POLL = 0.05


def main() -> int:
    """Read the request, answer it on stdout; the exit code."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="cnidaria: %(message)s")
    data = sys.stdin.buffer.read()
    body = data[LENGTH.size : LENGTH.size + body_length(data[: LENGTH.size])]
    seconds = float(msgpack.unpackb(body)["timeout_s"])
    reply = answer(parse_call(body, None), body, Settings.from_env(), seconds)
    sys.stdout.buffer.write(reply.stdout)
    sys.stderr.buffer.write(reply.stderr)
    return reply.exit


def answer(call: Call, body: bytes, settings: Settings, seconds: float) -> Reply:
    """Answer ``call`` here, or through an agent that has come up meanwhile."""
    deadline = time.monotonic() + seconds
    version = versions.asked(call.stdin)
    try:
        registry = load(call.name)
        while True:
            with ExitStack() as stack:
                try:
                    opened = open_state(settings, registry, POLL)
                    state = stack.enter_context(opened)
                except StateError as error:
                    if error.errno != errno.EAGAIN or time.monotonic() > deadline:
                        raise
                else:
                    return here(state, call)
            by_agent = ask_agent(settings, call, body, deadline)
            if by_agent:
                return by_agent
    except StateError as error:
        busy = error.errno == errno.EAGAIN
        code = Code.TRY_AGAIN_LATER if busy else error.code
        return Reply(1, CniError(code, error.msg, error.details).to_json(version))
    except PluginError as error:
        return Reply(1, CniError(Code.INTERNAL, str(error)).to_json(version))


def here(state: State, call: Call) -> Reply:
    """Answer in this process."""
    with NetNS.from_fd(call.fds["host"]) as host:
        state.recover(host)
    state.networks.retire_forgotten()
    return state.service().answer(call)


def ask_agent(settings: Settings, call: Call, body: bytes, deadline: float) -> Reply | None:
    """The agent's answer; ``None`` if there is no agent, or it ended before it answered."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(max(POLL, deadline - time.monotonic()))
        try:
            connection.connect(os.fspath(settings.socket))
            data = LENGTH.pack(len(body)) + body
            sent = socket.send_fds(connection, [data], list(call.fds.values()))
            connection.sendall(data[sent:])
            head = _exactly(connection.recv, LENGTH.size)
            return parse_reply(_exactly(connection.recv, body_length(head))) if head else None
        except TimeoutError:
            msg = f"the agent at {settings.socket} did not answer in time"
            error = CniError(Code.TRY_AGAIN_LATER, msg)
            return Reply(1, error.to_json(versions.asked(call.stdin)))
        except OSError:
            return None


def _exactly(receive: Callable[[int], bytes], size: int) -> bytes:
    """``size`` bytes, or none if the other side ends before."""
    data = b""
    while len(data) < size:
        chunk = receive(size - len(data))
        if not chunk:
            return b""
        data += chunk
    return data


if __name__ == "__main__":
    sys.exit(main())
