"""A CNI runtime in miniature: calls the plugins of a conflist as libcni does.

For tests of a mode through its executable, and for benchmarks::

    runtime = Runtime(conflist, path=["/opt/cni/bin"])
    pod = Attachment("pod-1", netns="/run/netns/pod-1")
    result = runtime.add(pod)
    runtime.check(pod)
    runtime.delete(pod)

Plugins run in the network namespace of the calling thread, as they run in that of a runtime.
Rules: CNI specification, sections 3 ("Execution of network configurations") and 4.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from cnidaria.cni.codec import folded
from cnidaria.cni.conflist import ConfList, parse_conflist
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.versions import parse

TIMEOUT = 120.0

Json = dict[str, Any]


class Attachment(msgspec.Struct, frozen=True):
    """A container's interface in a network, as a runtime names it.

    Attributes:
        args: ``CNI_ARGS``.
        capabilities: what the runtime can tell plugins that declare the capability.
    """

    container_id: str
    netns: str
    ifname: str = "eth0"
    args: Mapping[str, str] = {}
    capabilities: Mapping[str, Any] = {}

    @property
    def key(self) -> tuple[str, str]:
        """What identifies it within the network."""
        return self.container_id, self.ifname


class Runtime:
    """Runs one network's plugins. Thread-safe. Every verb raises :class:`CniError`.

    That is the plugin's own error; code 5 if there is no such plugin, 6 if its answer is not
    JSON, 11 if it does not end in time, 100 if it fails without an error object.

    Args:
        conflist: a ``.conflist``, as text or decoded.
        path: the directories that plugins are in.
        environ: the plugins' environment besides ``CNI_*``; default: this process's.
        timeout: seconds that one plugin may take.
        observe: told verb, plugin and seconds of each call that succeeded.
    """

    def __init__(
        self,
        conflist: bytes | Mapping[str, Any],
        path: Sequence[str | os.PathLike[str]],
        environ: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
        observe: Callable[[str, str, float], object] | None = None,
    ) -> None:
        data = conflist if isinstance(conflist, bytes) else msgspec.json.encode(conflist)
        self.network: ConfList = parse_conflist(data)
        self._path = [os.fspath(directory) for directory in path]
        around = os.environ if environ is None else environ
        self._environ = {key: text for key, text in around.items() if not key.startswith("CNI_")}
        self._environ["CNI_PATH"] = ":".join(self._path)
        self._timeout = timeout
        self._observe = observe
        self._lock = threading.Lock()
        self._results: dict[tuple[str, str], tuple[Attachment, Json]] = {}

    def add(self, attachment: Attachment) -> Json:
        """ADD to the whole chain; the last plugin's result. A failed ADD calls for a DEL."""
        result: Json | None = None
        for plugin in self.network.plugins:
            result = decode(self._call("ADD", plugin, attachment, result))
        assert result is not None, "a network has at least one plugin"
        with self._lock:
            self._results[attachment.key] = attachment, result
        return result

    def delete(self, attachment: Attachment) -> None:
        """DEL, last plugin first, with the result of ADD if there was one."""
        result = self._result(attachment) if self._knows("0.4.0") else None
        for plugin in reversed(self.network.plugins):
            self._call("DEL", plugin, attachment, result)
        with self._lock:
            self._results.pop(attachment.key, None)

    def check(self, attachment: Attachment) -> None:
        """CHECK, with the result of ADD; nothing is called if the network disables it."""
        if self.network.disable_check:
            return
        for plugin in self.network.plugins:
            self._call("CHECK", plugin, attachment, self._result(attachment))

    def status(self) -> None:
        """STATUS; nothing is called if the network's version does not know it."""
        if self._knows("1.1.0"):
            for plugin in self.network.plugins:
                self._call("STATUS", plugin)

    def gc(self, valid: Collection[Attachment]) -> None:
        """DEL of what was added here and is not ``valid``, then GC, if the version knows it."""
        if self.network.disable_gc:
            return
        keep = {attachment.key for attachment in valid}
        for attachment, _ in list(self._results.values()):
            if attachment.key not in keep:
                self.delete(attachment)
        if self._knows("1.1.0"):
            named = [{"containerID": key[0], "ifname": key[1]} for key in sorted(keep)]
            more = {"cni.dev/valid-attachments": named, "cni.dev/attachments": named}
            for plugin in self.network.plugins:
                self._call("GC", plugin, more=more)

    def _knows(self, version: str) -> bool:
        return parse(self.network.cni_version) >= parse(version)

    def _result(self, attachment: Attachment) -> Json | None:
        with self._lock:
            found = self._results.get(attachment.key)
        return found[1] if found else None

    def _call(
        self,
        verb: str,
        plugin: Mapping[str, Any],
        attachment: Attachment | None = None,
        prev_result: Json | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> bytes:
        request = request_of(self.network, plugin, attachment, prev_result)
        environ = {**self._environ, "CNI_COMMAND": verb, **environment(attachment)}
        kind = str(folded(plugin)["type"])
        program = find(kind, self._path)
        stdin = msgspec.json.encode({**request, **(more or {})})
        started = time.perf_counter()
        answer = execute(program, stdin, environ, self._timeout)
        if self._observe:
            self._observe(verb, kind, time.perf_counter() - started)
        return answer


def request_of(
    network: ConfList,
    plugin: Mapping[str, Any],
    attachment: Attachment | None,
    prev_result: Json | None,
) -> Json:
    """A plugin's configuration as it is handed over ("Deriving request configuration")."""
    inserted: Json = {"name": network.name, "cniVersion": network.cni_version}
    if prev_result is not None:
        inserted["prevResult"] = prev_result
    wanted = folded(plugin).get("capabilities") or {}
    given = attachment.capabilities if attachment else {}
    capabilities = {key: given[key] for key, wants in wanted.items() if wants and key in given}
    if capabilities:
        inserted["runtimeConfig"] = capabilities
    # The inserted keys come last: they win over the same ones in other letter case.
    return {**{key: value for key, value in plugin.items() if key not in inserted}, **inserted}


def environment(attachment: Attachment | None) -> dict[str, str]:
    """The variables that name an attachment; empty for the verbs that concern none."""
    if attachment is None:
        attachment = Attachment("", "", "")
    return {
        "CNI_CONTAINERID": attachment.container_id,
        "CNI_NETNS": attachment.netns,
        "CNI_IFNAME": attachment.ifname,
        "CNI_ARGS": ";".join(f"{key}={text}" for key, text in attachment.args.items()),
    }


def find(plugin: str, path: Sequence[str]) -> str:
    """The plugin's file. Raises :class:`CniError`, code 5."""
    for directory in path:
        program = os.path.join(directory, plugin)
        if os.access(program, os.X_OK):
            return program
    raise CniError(Code.IO_FAILURE, f"no plugin {plugin!r} in {':'.join(path)}")


def execute(program: str, stdin: bytes, environ: Mapping[str, str], timeout: float) -> bytes:
    """Execute a plugin in the calling thread's namespace; its stdout.

    Raises:
        CniError: as :class:`Runtime`, but 6.
    """
    name = os.path.basename(program)
    try:
        done = subprocess.run(
            [program], input=stdin, capture_output=True, env=environ, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise CniError(Code.TRY_AGAIN_LATER, f"{name}: no end within {timeout:g} s") from None
    if done.returncode == 0:
        return done.stdout
    said = (done.stderr or done.stdout).decode(errors="replace").strip()
    raise CniError.from_json(done.stdout) or CniError(
        Code.INTERNAL, f"{name}: failed with exit code {done.returncode}", said
    )


def decode(answer: bytes) -> Json:
    """A result. Raises :class:`CniError`, code 6."""
    try:
        return msgspec.json.decode(answer, type=Json)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CniError(Code.DECODING_FAILURE, f"the result is not a JSON object: {error}") from None
