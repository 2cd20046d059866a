"""CNI calls in, CNI answers out. The same code in the agent and in a one-shot run."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cnidaria.cni import versions
from cnidaria.cni.config import NetConf
from cnidaria.cni.env import Invocation
from cnidaria.cni.errors import CniError, Code
from cnidaria.ipam.plugin import IPAM_TYPE, IpamPlugin
from cnidaria.kernel.netns import NetNS, NotANamespaceError
from cnidaria.node.frame import Call, Reply
from cnidaria.node.verbs import NOTHING, Context, Verbs

log = logging.getLogger(__name__)

Verb = Callable[[Context], bytes]
NEEDS_POD = frozenset({"ADD", "CHECK"})


class Service:
    """Answers calls, many at a time. Never raises: a fault of ours is an answer, too."""

    def __init__(self, verbs: Verbs, ipam: IpamPlugin) -> None:
        self._verbs = by_name(verbs)
        self._ipam_verbs = ipam_by_name(ipam)

    def answer(self, call: Call) -> Reply:
        """Do what ``call`` asks for and say so as the specification has it."""
        try:
            invocation = Invocation.parse(call.env)
            if invocation.command == "VERSION":
                return Reply(0, versions.version_reply(call.stdin))
            conf = NetConf.parse(call.stdin, invocation.command)
            versions.gate(invocation.command, conf.cni_version)
            verbs = self._ipam_verbs if call.name == IPAM_TYPE else self._verbs
            with namespaces(call, invocation) as (host, pod):
                context = Context(call.id, invocation, conf, host, pod)
                out = verbs[invocation.command](context)
            notes = "".join(f"{call.name}: {note}\n" for note in context.notes)
            return Reply(0, out, notes.encode())
        except CniError as error:
            log.info("%s %s: %s", call.env.get("CNI_COMMAND"), call.name, error)
            return Reply(1, error.to_json(versions.asked(call.stdin)))
        except Exception as error:
            log.exception("%s %s failed", call.env.get("CNI_COMMAND"), call.name)
            fault = CniError(Code.INTERNAL, f"internal error: {type(error).__name__}: {error}")
            return Reply(1, fault.to_json(versions.asked(call.stdin)))


def by_name(verbs: Verbs) -> dict[str, Verb]:
    """A mode's verbs."""
    return {
        "ADD": verbs.add,
        "DEL": verbs.delete,
        "CHECK": verbs.check,
        "STATUS": verbs.status,
        "GC": verbs.gc,
    }


def ipam_by_name(ipam: IpamPlugin) -> dict[str, Verb]:
    """The verbs of ``cnidaria-ipam``, which main plugins delegate to."""

    def add(call: Context) -> bytes:
        asked = call.invocation
        result = ipam.add(call.conf, asked, call.host, call.pod, call.request_id)
        return result.encode(call.conf.cni_version)

    def silent(verb: Callable[[Context], None]) -> Verb:
        def run(call: Context) -> bytes:
            verb(call)
            return NOTHING

        return run

    return {
        "ADD": add,
        "DEL": silent(lambda call: ipam.delete(call.conf, call.invocation, call.host)),
        "CHECK": silent(lambda call: ipam.check(call.conf, call.invocation)),
        "STATUS": silent(lambda call: ipam.status(call.conf)),
        "GC": silent(lambda call: ipam.gc(call.conf, call.host)),
    }


@contextmanager
def namespaces(call: Call, invocation: Invocation) -> Iterator[tuple[NetNS, NetNS | None]]:
    """The caller's namespace and the pod's; the pod's only where it is there.

    Raises:
        CniError: the pod's is needed and cannot be had (code 8), or is the caller's own.
    """
    host = NetNS.from_fd(call.fds["host"])
    pod = _pod(call, invocation)
    try:
        yield host, _other(pod, host, invocation)
    finally:
        host.close()
        if pod:
            pod.close()


def _other(pod: NetNS | None, host: NetNS, invocation: Invocation) -> NetNS | None:
    """``pod``, unless it is the caller's own namespace, where nothing may be done to a pod."""
    if pod and pod.cookie == host.cookie and not invocation.netns_override:
        if invocation.command in NEEDS_POD:
            raise CniError(
                Code.INVALID_NETNS,
                f"CNI_NETNS = {invocation.netns!r}: is the caller's own network namespace",
                "set CNI_NETNS_OVERRIDE=1 if that is meant",
            )
        return None
    return pod


def _pod(call: Call, invocation: Invocation) -> NetNS | None:
    if "pod" in call.fds:
        try:
            return NetNS.from_fd(call.fds["pod"], path=invocation.netns)
        except NotANamespaceError as error:
            problem = str(error)
    else:
        problem = os.strerror(call.pod_errno or errno.ENOENT)
    if invocation.command in NEEDS_POD:
        raise CniError(Code.INVALID_NETNS, f"CNI_NETNS = {invocation.netns!r}: {problem}")
    return None
