"""The environment of an invocation: the ``CNI_*`` variables (specification, section 2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from cnidaria.cni.address import canonical_mac
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.versions import VERBS

T = TypeVar("T")

MAX_IFNAME: Final = 15
"""Longest name of an interface, bytes (Linux' IFNAMSIZ less the terminating zero)."""

MAX_PATH: Final = 4095
"""Longest path, bytes (Linux' PATH_MAX less the terminating zero)."""

IDENTIFIER: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
"""What a container id and a network's name look like (to be matched in full)."""

_ATTACHMENT: Final = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME")
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "ADD": _ATTACHMENT,
    "CHECK": _ATTACHMENT,
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "GC": ("CNI_PATH",),
}
_KNOWN_ARGS: Final = frozenset({"IgnoreUnknown", "IP", "MAC", "GATEWAY"})
_RESERVED_IFNAMES: Final = frozenset({".", "..", "all", "default"})


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    """What a runtime asks for, apart from the configuration on stdin.

    Attributes:
        command: the verb, one of :data:`cnidaria.cni.versions.VERBS`.
        container_id: identifies the container; ``""`` for STATUS, GC and VERSION.
        netns: path of the pod's network namespace; ``""`` if not given (DEL may come without).
        ifname: name of the interface in the pod.
        args: ``CNI_ARGS``, without ``IgnoreUnknown``.
        path: directories to look for other plugins in, in order.
        netns_override: the pod's namespace may be the caller's own (``CNI_NETNS_OVERRIDE``).
        tolerated: what is wrong with the environment, but must not keep a DEL from going on;
            the variables in question are empty.
    """

    command: str
    container_id: str = ""
    netns: str = ""
    ifname: str = ""
    args: Mapping[str, str] = {}
    path: tuple[str, ...] = ()
    netns_override: bool = False
    tolerated: tuple[CniError, ...] = ()

    @classmethod
    def parse(cls, env: Mapping[str, str]) -> Invocation:
        """Read and validate the ``CNI_*`` variables of ``env``; other variables are not looked at.

        For DEL a malformed ``CNI_NETNS`` or ``CNI_ARGS`` is put into ``tolerated``: an ADD that
        was refused for it is followed by a DEL with the same, which must succeed.

        Raises:
            CniError: code 4, naming the variable, its value and what is allowed.
        """
        command = env.get("CNI_COMMAND", "")
        if command not in VERBS:
            raise _invalid("CNI_COMMAND", command, f"must be one of {', '.join(VERBS)}")
        missing = [name for name in _REQUIRED.get(command, ()) if not env.get(name)]
        if missing:
            raise CniError(
                Code.INVALID_ENVIRONMENT, f"{command} needs {', '.join(missing)}: missing or empty"
            )
        path = tuple(entry for entry in env.get("CNI_PATH", "").split(":") if entry)
        override = env.get("CNI_NETNS_OVERRIDE", "").lower() in ("1", "true")
        if command not in ("ADD", "CHECK", "DEL"):
            return cls(command=command, path=path, netns_override=override)
        tolerated: list[CniError] | None = [] if command == "DEL" else None
        return cls(
            command=command,
            container_id=check_container_id(env["CNI_CONTAINERID"]),
            netns=_attempt(check_netns, env.get("CNI_NETNS", ""), "", tolerated),
            ifname=check_ifname(env["CNI_IFNAME"]),
            args=_attempt(parse_args, env.get("CNI_ARGS", ""), {}, tolerated),
            path=path,
            netns_override=override,
            tolerated=tuple(tolerated or ()),
        )

    def requested_mac(self) -> str | None:
        """The MAC that ``CNI_ARGS`` asks for, canonical.

        Raises:
            CniError: code 4; it is none that an interface can have.
        """
        text = self.args.get("MAC")
        if not text:
            return None
        try:
            return canonical_mac(text)
        except ValueError as error:
            raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_ARGS: MAC = {text!a}: {error}") from None


def check_container_id(text: str) -> str:
    """``text`` if it may be a container id.

    Raises:
        CniError: code 4.
    """
    if not IDENTIFIER.fullmatch(text):
        raise _invalid(
            "CNI_CONTAINERID",
            text,
            "must be ASCII letters, digits, '_', '.' or '-', the first one a letter or digit",
        )
    return text


def check_ifname(text: str) -> str:
    """``text`` if Linux takes it as the name of an interface as it stands.

    Raises:
        CniError: code 4.
    """
    problem = ifname_problem(text)
    if problem:
        raise _invalid("CNI_IFNAME", text, problem)
    return text


def ifname_problem(text: str) -> str:
    """Why ``text`` cannot name an interface, ``""`` if it can.

    Beyond what the kernel itself refuses: ``%``, from which it would make another name, and what
    cannot be printed.
    """
    if not text:
        return "must not be empty"
    length = len(text.encode("utf-8", "surrogateescape"))
    if length > MAX_IFNAME:
        return f"must be at most {MAX_IFNAME} bytes, is {length}"
    if text in _RESERVED_IFNAMES:
        return "is a name that the kernel keeps for itself"
    if not text.isprintable() or any(char in "/:%" or char.isspace() for char in text):
        return "must not contain '/', ':', '%', white space or unprintable characters"
    return ""


def check_netns(text: str) -> str:
    """``text`` if it is empty or may be the path of a namespace. The file is not looked at.

    Raises:
        CniError: code 4.
    """
    if not text:
        return text
    if not text.startswith("/"):
        raise _invalid("CNI_NETNS", text, "must be an absolute path")
    if ".." in text.split("/"):
        raise _invalid("CNI_NETNS", text, "must not contain '..'")
    if not text.isprintable():
        raise _invalid("CNI_NETNS", text, "must be printable UTF-8")
    length = len(text.encode())
    if length > MAX_PATH:
        raise _invalid("CNI_NETNS", text, f"must be at most {MAX_PATH} bytes, is {length}")
    return text


def parse_args(text: str) -> Mapping[str, str]:
    """``CNI_ARGS``: ``KEY=VALUE`` pairs with semicolons between; of equal keys the last one wins.

    ``IP``, ``MAC``, ``GATEWAY`` and ``K8S_*`` are known; any other key is an error unless
    ``IgnoreUnknown`` is true (and is then in the result all the same).

    Raises:
        CniError: code 4.
    """
    args: dict[str, str] = {}
    for pair in filter(None, text.split(";")):
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise _invalid("CNI_ARGS", text, f"{pair!r} is not of the form KEY=VALUE")
        args[key] = value
    ignore = args.pop("IgnoreUnknown", "false").lower()
    if ignore not in ("1", "true", "0", "false"):
        raise _invalid("CNI_ARGS", text, "IgnoreUnknown must be 1, true, 0 or false")
    unknown = [key for key in args if key not in _KNOWN_ARGS and not key.startswith("K8S_")]
    if unknown and ignore in ("0", "false"):
        raise _invalid(
            "CNI_ARGS",
            text,
            f"unknown key {unknown[0]!r}; known are IP, MAC, GATEWAY and K8S_*, "
            "and with IgnoreUnknown=1 any other is passed over",
        )
    return args


def _attempt(
    read: Callable[[str], T], text: str, fallback: T, tolerated: list[CniError] | None
) -> T:
    """``read(text)``; if it fails and errors are tolerated, ``fallback`` and the error noted."""
    try:
        return read(text)
    except CniError as error:
        if tolerated is None:
            raise
        tolerated.append(error)
        return fallback


def _invalid(name: str, value: str, problem: str) -> CniError:
    shown = value if len(value) <= 80 else f"{value[:77]}..."
    return CniError(Code.INVALID_ENVIRONMENT, f"{name} = {shown!a}: {problem}")
