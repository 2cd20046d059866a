"""The CNI plugin ``cnidaria-ipam``, which bridge, macvlan, ptp and others delegate to.

What it gives is an attachment without kernel objects: journaled, swept and collected as any other.
"""

from __future__ import annotations

import logging

from cnidaria.cni.config import NetConf
from cnidaria.cni.env import Invocation
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.result import Result
from cnidaria.ipam.config import IpamConfig
from cnidaria.ipam.keys import IPAM_TYPE
from cnidaria.ipam.leases import LeaseSet, Owner, pod_name
from cnidaria.ipam.own import own_addresses
from cnidaria.ipam.pools import Pools
from cnidaria.ipam.requested import requested
from cnidaria.kernel.netns import NetNS
from cnidaria.plan.attachment import Attachment, Key
from cnidaria.plan.engine import Engine

__all__ = ["IPAM_TYPE", "IpamPlugin"]

log = logging.getLogger(__name__)


class IpamPlugin:
    """The verbs. Each raises :class:`CniError`. Thread-safe.

    Args:
        engine: must call :meth:`Pools.forget` for every attachment that it has released.
    """

    def __init__(self, engine: Engine, pools: Pools) -> None:
        self._engine = engine
        self._pools = pools

    def add(
        self,
        conf: NetConf,
        invocation: Invocation,
        host: NetNS,
        pod: NetNS | None,
        request_id: bytes = b"",
    ) -> Result:
        """ADD: addresses, routes, dns. A repeated request gets what the first one got."""
        key = _key(conf, invocation)
        config = IpamConfig.of(conf, where=IPAM_TYPE)
        wishes = requested(conf, invocation)
        with self._engine.exclusive(key):
            if made := self._engine.repeated(key, request_id):
                return Result.parse(made.result or {}, conf.cni_version)
            self._engine.refuse_second(key, host, pod)
            if self._engine.store.get(*key):
                # What a DEL could not finish, or a container that died without one, left.
                self._engine.detach(key, host, pod)
            owner = Owner.of(invocation)
            given = self._pools.lease(conf.name, config, owner, wishes, own_addresses(host))
            try:
                attachment = _attachment(conf, invocation, given, request_id)
            except CniError:
                self._pools.release(owner, given.addresses, used=False)
                raise
            self._engine.attach(attachment, host, pod)
        return given.result(conf.cni_version)

    def delete(self, conf: NetConf, invocation: Invocation, host: NetNS) -> None:
        """DEL: by what was recorded, whatever the configuration is now."""
        self._engine.detach(_key(conf, invocation), host)

    def check(self, conf: NetConf, invocation: Invocation) -> None:
        """CHECK: the addresses are still held, and those of ``prevResult`` are the same."""
        key = _key(conf, invocation)
        attachment = self._engine.store.get(*key)
        if attachment is None or attachment.state != "attached":
            raise CniError(Code.CHECK_FAILED, f"{'/'.join(key)} holds no address")
        if conf.prev_result is None:
            return
        told = {ip.address.partition("/")[0] for ip in conf.prev_result.ips}
        for lease in attachment.leases:
            if lease.address not in told:
                raise CniError(
                    Code.CHECK_FAILED,
                    f"{attachment.id} holds {lease.address}, which prevResult.ips lacks",
                )

    def status(self, conf: NetConf) -> None:
        """STATUS: the configuration is right, and an address of each range set is free."""
        self._pools.check_free(conf.name, IpamConfig.of(conf, where=IPAM_TYPE))

    def gc(self, conf: NetConf, host: NetNS) -> None:
        """GC: release what is not valid any more; nothing where the runtime does not say."""
        if conf.valid_attachments is None:
            return
        keep = {(one.container_id, one.ifname) for one in conf.valid_attachments}
        for gone in self._engine.gc(conf.name, IPAM_TYPE, keep, host):
            log.info("GC released %s", gone.id)


def _key(conf: NetConf, invocation: Invocation) -> Key:
    """By our own type: the configuration's is the delegating plugin's."""
    return conf.name, invocation.container_id, invocation.ifname, IPAM_TYPE


def _attachment(
    conf: NetConf, invocation: Invocation, given: LeaseSet, request_id: bytes
) -> Attachment:
    return Attachment(
        network=conf.name,
        container=invocation.container_id,
        ifname=invocation.ifname,
        plugin=IPAM_TYPE,
        pod=pod_name(invocation.args),
        request_id=request_id,
        netns_path=invocation.netns,
        config=dict(conf.raw),
        leases=given.addresses,
        result=given.result(conf.cni_version).to_json(conf.cni_version),
    )
