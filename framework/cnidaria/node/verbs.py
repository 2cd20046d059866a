"""What ADD, DEL, CHECK, STATUS and GC do for a mode. Each takes a :class:`Context`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from cnidaria.api import NotReady, Request
from cnidaria.cni.config import NetConf
from cnidaria.cni.env import Invocation
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.result import Result
from cnidaria.ipam.leases import pod_name
from cnidaria.kernel.errors import Difference, KernelError
from cnidaria.kernel.netns import NetNS
from cnidaria.node.addresses import Addresses, Lending
from cnidaria.node.networks import Networks, Opened
from cnidaria.plan.attachment import Attachment, Key, NetworkId
from cnidaria.plan.engine import Engine
from cnidaria.plan.outcome import as_told, lacking, outcome
from cnidaria.plan.plan import Plan

log = logging.getLogger(__name__)

NOTHING = b""
UNAVAILABLE: Final = frozenset(
    {Code.IO_FAILURE, Code.KERNEL_REFUSED, Code.STATE_UNAVAILABLE, Code.TRY_AGAIN_LATER}
)
"""What keeps ADD from being served without the configuration being wrong."""

Tends = Callable[[NetworkId, NetNS], bool]


def nobody(_network: NetworkId, _host: NetNS) -> bool:
    """Nobody looks after the node: a one-shot run leaves nothing behind."""
    return False


Clash = Callable[[NetworkId, NetNS], str]


def unknown(_network: NetworkId, _host: NetNS) -> str:
    """A one-shot run knows one network only."""
    return ""


@dataclass(frozen=True)
class Context:
    """One call, parsed: what is asked, and the namespaces it is about.

    Attributes:
        notes: what people should know although the call succeeds; for stderr.
    """

    request_id: bytes
    invocation: Invocation
    conf: NetConf
    host: NetNS
    pod: NetNS | None
    notes: list[str] = field(default_factory=list)

    @property
    def key(self) -> Key:
        """Network, container, interface name, CNI type: what the attachment is known by."""
        asked = self.invocation
        return self.conf.name, asked.container_id, asked.ifname, self.conf.type


class Verbs:
    """The verbs of the specification, for every mode alike.

    Args:
        tends: told of a network that may have lost its last pod; whether it looks after that
            node, and so has seen to it.
        clash: what of a network's addresses another one of the node has before it, or ``""``.
    """

    def __init__(
        self,
        engine: Engine,
        networks: Networks,
        addresses: Addresses,
        tends: Tends = nobody,
        clash: Clash = unknown,
    ) -> None:
        self._engine = engine
        self._networks = networks
        self._addresses = addresses
        self._tends = tends
        self._clash = clash

    def add(self, call: Context) -> bytes:
        """Attach; the result in the configuration's version."""
        with self._engine.exclusive(call.key):
            made = self._engine.repeated(call.key, call.request_id) or self._attach(call)
        return Result.parse(made.result or {}, call.conf.cni_version).encode(call.conf.cni_version)

    def _attach(self, call: Context) -> Attachment:
        if self._engine.store.get(*call.key) is not None:
            self._engine.refuse_second(call.key, call.host, call.pod)
            # A DEL that could not finish left it, or a container that died without one.
            self._engine.detach(call.key, call.host, call.pod)
        network = self._open(call)
        try:
            with self._networks.in_use(network, call.host):
                self._networks.bring_up(network, call.host)
                return self._apply(call, network)
        except BaseException:
            self._retire(call)
            raise

    def _apply(self, call: Context, network: Opened) -> Attachment:
        lending = self._addresses.lend(
            call.conf, call.invocation, call.host, network.cluster, call.request_id
        )
        try:
            request = Request.of(call.invocation, call.conf)
            plan = network.mode.attach(request, replace(network.net, take=lending.take))
            attachment = _attachment(call, plan, lending)
        except BaseException:
            lending.give_back()
            raise
        return self._engine.attach(attachment, call.host, call.pod)

    def _open(self, call: Context) -> Opened:
        try:
            return self._usable(self._networks.open(call.conf, call.host))
        except NotReady as error:
            raise CniError(Code.TRY_AGAIN_LATER, f"{call.conf.type}: {error}") from error

    def _usable(self, network: Opened) -> Opened:
        """Raises :class:`NotReady`: another node has this one's addresses, or its name."""
        if why := self._networks.why_not(network):
            raise NotReady(f"network {network.net.name}: {why}")
        return network

    def delete(self, call: Context) -> bytes:
        """Detach whatever is there; an unknown attachment is as good as a detached one."""
        for error in (*call.invocation.tolerated, *call.conf.tolerated):
            log.info("DEL %s goes on without: %s", "/".join(call.key), error)
        gone = self._engine.detach(call.key, call.host, call.pod)
        if gone is None or gone.adopted:
            self._addresses.release_unknown(call.conf, call.invocation, call.host)
        self._retire(call)
        return NOTHING

    def _retire(self, call: Context) -> None:
        """With the last pod of a network that nobody keeps up, its node state goes, too."""
        network = call.conf.name, call.conf.type
        if self._engine.store.has_pods(call.host.cookie, network):
            return
        if not self._tends(network, call.host):
            self._networks.retire(network, call.host)

    def check(self, call: Context) -> bytes:
        """Compare the kernel with the plan; code 105 names the first difference."""
        attachment = self._engine.store.get(*call.key)
        if attachment is None or attachment.state != "attached":
            raise CniError(Code.CHECK_FAILED, f"{'/'.join(call.key)} is not attached")
        if call.pod and call.pod.cookie != attachment.netns_cookie and attachment.netns_cookie:
            raise CniError(
                Code.CHECK_FAILED,
                f"CNI_NETNS = {call.invocation.netns!r}: is not the namespace that {attachment.id} "
                "is attached to",
            )
        told = _as_told(attachment, call.conf.prev_result)
        self._addresses.check(told, call.host)
        difference = self._engine.check(told, call.host, call.pod) or self._network_differs(
            attachment, call.host
        )
        if difference:
            raise CniError(Code.CHECK_FAILED, str(difference))
        return NOTHING

    def _network_differs(self, attachment: Attachment, host: NetNS) -> Difference | None:
        """The first of what the pod's network has on the node that is not as it should be.

        Raises:
            CniError: it cannot be known (11), or the kernel does not answer (106).
        """
        if attachment.adopted:  # nobody knows its configuration
            return None
        conf = NetConf.parse(attachment.config, "CHECK")
        try:
            return self._networks.difference(self._networks.open(conf, host), host)
        except NotReady as error:
            raise CniError(Code.TRY_AGAIN_LATER, f"{conf.type}: {error}") from error

    def status(self, call: Context) -> bytes:
        """Success only once the node's state for this network is really there."""
        try:
            self._engine.store.require_writable()
            network = self._usable(self._networks.reopen(call.conf, call.host))
            self._networks.bring_up(network, call.host, look=True)
            claim = self._addresses.claim(call.conf, network.cluster)
            self._addresses.status(call.conf, call.invocation, call.host, claim)
            if clash := self._clash(network.id, call.host):
                raise NotReady(clash)
            call.notes.extend(network.mode.status(network.net, call.host))
        except NotReady as error:
            code = Code.LIMITED_CONNECTIVITY if error.limited else Code.NOT_AVAILABLE
            raise CniError(code, f"{call.conf.type}: {error}") from error
        except KernelError as error:
            raise CniError(Code.NOT_AVAILABLE, str(error)) from error
        except CniError as error:
            if error.code in UNAVAILABLE:
                raise CniError(Code.NOT_AVAILABLE, error.msg, error.details) from error
            raise
        finally:
            self._retire(call)
        return NOTHING

    def gc(self, call: Context) -> bytes:
        """Withdraw what is not valid any more; nothing where the runtime does not say."""
        valid = call.conf.valid_attachments
        if valid is not None:
            keep = {(one.container_id, one.ifname) for one in valid}
            for gone in self._engine.gc(call.conf.name, call.conf.type, keep, call.host):
                log.info("GC withdrew %s", gone.id)
            self._retire(call)
        self._addresses.gc(call.conf, call.invocation, call.host)
        return NOTHING


def _as_told(attachment: Attachment, told: Result | None) -> Attachment:
    """The attachment as the result of the whole chain has it, which CHECK comes with.

    Raises:
        CniError: 105; that is the result of another one.
    """
    if told is None:
        return attachment
    for address in lacking(attachment.objects, told):
        text = f"prevResult.ips lacks {address}, which {attachment.id} has"
        raise CniError(Code.CHECK_FAILED, text)
    return msgspec.structs.replace(attachment, objects=tuple(as_told(attachment.objects, told)))


def _attachment(call: Context, plan: Plan, lending: Lending) -> Attachment:
    asked = call.invocation
    before = call.conf.prev_result
    dns = call.conf.resolver(lending.dns)
    result = plan.result or outcome(plan.objects, asked.netns, dns, before)
    return Attachment(
        network=call.conf.name,
        container=asked.container_id,
        ifname=asked.ifname,
        plugin=call.conf.type,
        request_id=call.request_id,
        netns_path=asked.netns,
        pod=pod_name(asked.args),
        config=dict(call.conf.raw),
        leases=lending.leases,
        delegate=lending.delegate,
        objects=plan.objects,
        result=result.to_json(call.conf.cni_version),
    )
