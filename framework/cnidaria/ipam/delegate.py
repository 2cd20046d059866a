"""Other IPAM plugins, executed as the CNI specification has it (section 4, "delegation").

They run in the network namespace of the caller, as if the runtime had executed them, with the
whole network configuration on stdin.  What a plugin needs besides (a daemon's socket, a
kubeconfig, the path of the pod's namespace) it must find where this process runs.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from cnidaria.cni.config import NetConf
from cnidaria.cni.env import Invocation
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.result import Result
from cnidaria.ipam.config import ipam_type
from cnidaria.ipam.leases import LeaseSet
from cnidaria.kernel.netns import NetNS

log = logging.getLogger(__name__)

T = TypeVar("T")

TIMEOUT: Final = 40.0
"""Seconds that a plugin may take; shorter than a runtime's patience, longer than DHCP's."""

UNDO_TIMEOUT: Final = 10.0
"""Seconds that the DEL after a failed ADD may take."""

_BUSY_TRIES: Final = 5
_STDERR_SHOWN: Final = 500
_NO_SUCH_VERB: Final = (
    Code.INCOMPATIBLE_VERSION,
    Code.INVALID_ENVIRONMENT,
    Code.UNKNOWN_CONTAINER,  # asks for the container before it looks at the verb
)


class Delegation(msgspec.Struct, frozen=True, kw_only=True):
    """Another IPAM plugin, asked on behalf of one attachment (or of a network: STATUS, GC).

    It goes into the attachment's record (:meth:`to_record`), so that DEL asks the same plugin
    with the same configuration, whatever has become of the network's.

    Attributes:
        plugin: the file's name.
        config: the network configuration as it came.
        cni_version: of it.
        path: directories to look for the plugin in.
        args: ``CNI_ARGS``.
    """

    plugin: str
    config: dict[str, Any]
    cni_version: str
    container: str = ""
    ifname: str = ""
    netns: str = ""
    path: tuple[str, ...] = ()
    args: str = ""
    netns_override: bool = False

    @classmethod
    def of(cls, conf: NetConf, invocation: Invocation) -> Delegation:
        """The plugin that the configuration's ``ipam`` names.

        Raises:
            CniError: code 7; no such name can be.
        """
        args = [f"{key}={value}" for key, value in invocation.args.items()]
        return cls(
            plugin=ipam_type(conf.ipam),
            config=dict(conf.raw),
            cni_version=conf.cni_version,
            container=invocation.container_id,
            ifname=invocation.ifname,
            netns=invocation.netns,
            path=tuple(map(_clean, invocation.path)),
            args=_clean(";".join(["IgnoreUnknown=1", *args])) if args else "",
            netns_override=invocation.netns_override,
        )

    def to_record(self) -> dict[str, Any]:
        """For the journal."""
        record: dict[str, Any] = msgspec.to_builtins(self)
        return record

    @classmethod
    def from_record(cls, raw: Mapping[str, Any]) -> Delegation:
        """Raises :class:`msgspec.ValidationError` where ``raw`` is none."""
        return msgspec.convert(raw, cls)

    def add(self, host: NetNS, timeout: float = TIMEOUT) -> LeaseSet:
        """Ask for addresses. If that fails, the plugin's DEL is called, as the specification asks.

        Raises:
            CniError: the plugin's own error with its name in front; 5 if there is no such file;
                11 if it did not end in time; 108 if what it says is no answer.
        """
        try:
            return LeaseSet.of_result(self._result(self._call("ADD", host, timeout)), self.plugin)
        except CniError:
            with contextlib.suppress(CniError):
                self._call("DEL", host, UNDO_TIMEOUT)
            raise

    def _result(self, answer: bytes) -> Result:
        what = f"result of {self.plugin}"
        raw = _object(answer, self.plugin)
        result = Result.parse(raw, self.cni_version, what=what, code=Code.DELEGATE_FAILED)
        if not result.ips:
            raise CniError(Code.DELEGATE_FAILED, f"{what}: has no address")
        hosts = [ip.address.partition("/")[0] for ip in result.ips]
        twice = next((host for n, host in enumerate(hosts) if host in hosts[:n]), None)
        if twice:
            raise CniError(Code.DELEGATE_FAILED, f"{what}: has the address {twice} twice")
        return result

    def delete(self, host: NetNS, timeout: float = TIMEOUT) -> None:
        """Give the addresses back. Raises as :meth:`add`."""
        self._call("DEL", host, timeout)

    def check(self, host: NetNS, conf: NetConf | None = None, timeout: float = TIMEOUT) -> None:
        """See whether the addresses are still held. Raises as :meth:`add`.

        Args:
            conf: what CHECK came with: plugins such as static need its ``prevResult``.
        """
        asked = self if conf is None else msgspec.structs.replace(self, config=dict(conf.raw))
        asked._call("CHECK", host, timeout)

    def status(self, host: NetNS, timeout: float = TIMEOUT) -> None:
        """See whether there would be addresses. A plugin that has no STATUS passes.

        Raises:
            CniError: as :meth:`add`.
        """
        self._if_spoken("STATUS", host, timeout)

    def gc(self, host: NetNS, timeout: float = TIMEOUT) -> None:
        """Let the plugin release what is not valid any more. One that has no GC passes.

        Raises:
            CniError: as :meth:`add`.
        """
        self._if_spoken("GC", host, timeout)

    def _if_spoken(self, verb: str, host: NetNS, timeout: float) -> None:
        try:
            self._call(verb, host, timeout)
        except CniError as error:
            if error.code not in _NO_SUCH_VERB:
                raise
            log.debug("%s has no %s: %s", self.plugin, verb, error)

    def _call(self, verb: str, host: NetNS, timeout: float) -> bytes:
        program = find(self.plugin, self.path)
        stdin = msgspec.json.encode(self.config)
        environ = {**_surroundings(os.environ), **self._environ(verb)}
        return host.run(execute, program, stdin, environ, timeout)

    def _environ(self, verb: str) -> dict[str, str]:
        environ = {"CNI_COMMAND": verb, "CNI_PATH": ":".join(self.path)}
        if self.container:
            environ["CNI_CONTAINERID"] = self.container
            environ["CNI_IFNAME"] = self.ifname
            environ["CNI_NETNS"] = self.netns
            environ["CNI_ARGS"] = self.args
        if self.netns_override:
            environ["CNI_NETNS_OVERRIDE"] = "1"
        return environ


def find(plugin: str, path: Sequence[str]) -> str:
    """The first executable file of this name in the directories of ``path``.

    Raises:
        CniError: code 5; there is none.
    """
    for directory in path:
        program = os.path.join(directory, plugin)
        if os.path.isfile(program) and os.access(program, os.X_OK):
            return program
    where = ":".join(path) or "empty"
    raise CniError(
        Code.IO_FAILURE,
        f"ipam.type: no executable file {plugin!r} on CNI_PATH",
        f"CNI_PATH is {where}",
    )


def execute(program: str, stdin: bytes, environ: Mapping[str, str], timeout: float) -> bytes:
    """Execute a CNI plugin in the calling thread's namespaces; its stdout.

    Args:
        timeout: seconds; then it and what it started is killed.

    Raises:
        CniError: the plugin's own error with its name in front; 5 if it cannot be executed; 11
            if it did not end in time; 108 if it failed without an error object.
    """
    name = os.path.basename(program)
    try:
        process = _retry_busy(lambda: _start(program, environ))
    except OSError as error:
        raise CniError(Code.IO_FAILURE, f"{program}: {error.strerror}") from error
    with process:
        try:
            stdout, stderr = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            verb = environ.get("CNI_COMMAND", "")
            raise CniError(
                Code.TRY_AGAIN_LATER, f"{name}: {verb} did not end within {timeout:g} s"
            ) from None
        finally:
            _end(process)
    if process.returncode:
        raise _failure(name, process.returncode, stdout, stderr)
    return stdout


def _start(program: str, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [program], stdin=pipe, stdout=pipe, stderr=pipe, env=environ, start_new_session=True
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the plugin with all its children, unless it has ended."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _retry_busy(start: Callable[[], T]) -> T:
    """A plugin that is being installed right now cannot be executed for a moment."""
    for attempt in range(_BUSY_TRIES):
        try:
            return start()
        except OSError as error:
            if error.errno != errno.ETXTBSY or attempt == _BUSY_TRIES - 1:
                raise
            time.sleep(0.1 * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _failure(name: str, status: int, stdout: bytes, stderr: bytes) -> CniError:
    own = CniError.from_json(stdout)
    if own is not None:
        return CniError(own.code, f"{name}: {own.msg}", own.details)
    how = f"was killed by signal {-status}" if status < 0 else f"failed with exit code {status}"
    said = (stderr or stdout).decode("utf-8", "replace").strip()
    return CniError(Code.DELEGATE_FAILED, f"{name}: {how}", said[-_STDERR_SHOWN:])


def _object(answer: bytes, name: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(answer, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        shown = answer[:_STDERR_SHOWN].decode("utf-8", "replace")
        raise CniError(
            Code.DELEGATE_FAILED, f"{name}: the answer is not a JSON object", shown
        ) from None


def _clean(text: str) -> str:
    """``text`` as a record can hold it: undecodable bytes of the environment replaced."""
    return text.encode("utf-8", "replace").decode()


def _surroundings(environ: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what belongs to another call."""
    return {key: value for key, value in environ.items() if not key.startswith("CNI_")}
