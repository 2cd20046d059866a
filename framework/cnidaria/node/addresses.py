"""Where an attachment's addresses come from: our pools, or another IPAM plugin."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import msgspec

from cnidaria.api import Request
from cnidaria.cluster import ClusterConfig, StoreError
from cnidaria.cni.config import NetConf
from cnidaria.cni.env import Invocation
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.records import Dns
from cnidaria.ipam import (
    IPAM_TYPE,
    Claim,
    IpamConfig,
    LeaseSet,
    Owner,
    Pools,
    Usage,
    ipam_type,
    own_addresses,
    prefixes,
    prefixes_of_foreign,
    requested,
)
from cnidaria.ipam.delegate import Delegation
from cnidaria.ipam.ranges import Range
from cnidaria.ipam.routes import settled
from cnidaria.kernel.netns import NetNS
from cnidaria.node.membership import Membership
from cnidaria.plan.attachment import Attachment
from cnidaria.plan.lease import Lease
from cnidaria.plan.namespaces import search
from cnidaria.plan.store import Store

log = logging.getLogger(__name__)


class Addresses:
    """Lends addresses for attachments, whoever hands them out. Thread-safe."""

    def __init__(self, store: Store, pools: Pools, membership: Membership) -> None:
        self._store = store
        self._pools = pools
        self._membership = membership

    def lend(
        self,
        conf: NetConf,
        invocation: Invocation,
        host: NetNS,
        cluster: ClusterConfig | None,
        request_id: bytes,
    ) -> Lending:
        """What one ADD takes its addresses by."""
        claim = self.claim(conf, cluster)
        store, pools = self._store, self._pools
        return Lending(store, pools, conf, invocation, host, claim, request_id)

    def claim(self, conf: NetConf, cluster: ClusterConfig | None) -> Claim:
        """Claims this node's block of a cluster's prefix in the cluster store."""

        def claim(pool: str, length: int) -> str:
            if cluster is None:
                raise CniError(
                    Code.INVALID_CONFIG,
                    f'{conf.type}: missing key "cluster": the store that blocks are claimed in',
                )
            try:
                store = self._membership.store(cluster)
                return store.claim_block(conf.name, pool, length, cluster.node_name)
            except StoreError as error:
                raise error.as_cni_error() from error

        return claim

    def prefixes(self, conf: NetConf, cluster: ClusterConfig | None) -> tuple[str, ...]:
        """The prefixes of this node's pods, canonical CIDR; none where nothing can be told."""
        if not conf.ipam:
            return ()
        if ipam_type(conf.ipam) == IPAM_TYPE:
            found = prefixes(IpamConfig.of(conf, self.claim(conf, cluster)))
        else:
            found = prefixes_of_foreign(conf.ipam)
        return tuple(str(ip_network(prefix)) for prefix in found)

    def ranges(self, conf: NetConf, cluster: ClusterConfig | None) -> list[Range]:
        """What our own pools of a network hand out of; none where others hand out.

        Raises:
            CniError: see :meth:`IpamConfig.of`.
        """
        if not conf.ipam or ipam_type(conf.ipam) != IPAM_TYPE:
            return []
        sets = IpamConfig.of(conf, self.claim(conf, cluster)).sets
        return [one for ranges in sets for one in ranges.ranges]

    def usage(self, conf: NetConf, cluster: ClusterConfig | None) -> list[Usage]:
        """How our own pools of a network are used; none where others hand out.

        Raises:
            CniError: see :meth:`IpamConfig.of`.
        """
        if not conf.ipam or ipam_type(conf.ipam) != IPAM_TYPE:
            return []
        return self._pools.usage(conf.name, IpamConfig.of(conf, self.claim(conf, cluster)))

    def releasing(self, attachment: Attachment) -> None:
        """Have the plugin that lent the addresses take them back, before we forget whose they are.

        Raises:
            CniError: the plugin's own.
        """
        if attachment.delegate is None:
            return
        host = search(attachment.host_cookie)
        if host is None:
            log.warning(
                "%s: its host namespace is gone; its addresses stay with %s",
                attachment.id,
                attachment.delegate.get("plugin"),
            )
            return
        with host:
            Delegation.from_record(attachment.delegate).delete(host)

    def released(self, attachment: Attachment) -> None:
        """Give our own addresses back."""
        self._pools.forget(attachment)

    def release_unknown(self, conf: NetConf, invocation: Invocation, host: NetNS) -> None:
        """DEL of an attachment that we do not know: another IPAM plugin may know more.

        Whatever it says, a DEL of what is not there is a success: nobody could ever finish it.
        """
        try:
            if conf.ipam and ipam_type(conf.ipam) != IPAM_TYPE:
                Delegation.of(conf, invocation).delete(host)
        except CniError as error:
            log.warning("DEL of %s goes on without: %s", invocation.container_id, error)

    def check(self, attachment: Attachment, host: NetNS) -> None:
        """CHECK of what another plugin lent. Raises :class:`CniError`: the plugin's own."""
        if attachment.delegate is not None:
            Delegation.from_record(attachment.delegate).check(host)

    def status(self, conf: NetConf, invocation: Invocation, host: NetNS, claim: Claim) -> None:
        """STATUS: there are addresses to lend. Raises :class:`CniError` where not."""
        if not conf.ipam:
            return
        if ipam_type(conf.ipam) == IPAM_TYPE:
            config = IpamConfig.of(conf, claim)
            families = {one.version for one in config.sets}
            settled(config.routes, families, f"{conf.type}: ipam.routes", Code.INVALID_CONFIG)
            self._pools.check_free(conf.name, config)
        else:
            Delegation.of(conf, invocation).status(host)

    def gc(self, conf: NetConf, invocation: Invocation, host: NetNS) -> None:
        """GC of another plugin. Raises :class:`CniError`: the plugin's own."""
        if conf.ipam and ipam_type(conf.ipam) != IPAM_TYPE:
            Delegation.of(conf, invocation).gc(host)


@dataclass
class Lending:
    """The addresses of one ADD, until an attachment holds them.

    Attributes:
        leases: taken from our pools.
        asked: the beginning of the attachment, where another plugin was asked.
        dns: for the pod's resolver.
    """

    store: Store
    pools: Pools
    conf: NetConf
    invocation: Invocation
    host: NetNS
    claim: Claim
    request_id: bytes
    leases: tuple[Lease, ...] = ()
    asked: Attachment | None = None
    dns: Dns = Dns()

    @property
    def delegate(self) -> dict[str, Any] | None:
        """The record of the other plugin that was asked, if one was."""
        return self.asked.delegate if self.asked else None

    def take(self, _request: Request) -> LeaseSet:
        """Addresses by the configuration's ``ipam``.

        Raises:
            CniError: see :meth:`Pools.lease` and :meth:`Delegation.add`.
        """
        conf = self.conf
        if not conf.ipam or ipam_type(conf.ipam) == IPAM_TYPE:
            config = IpamConfig.of(conf, self.claim)
            wishes = requested(conf, self.invocation)
            owner, own = Owner.of(self.invocation), own_addresses(self.host)
            given = self.pools.lease(conf.name, config, owner, wishes, own)
            self.leases = given.addresses
            self.dns = given.dns
            return given.settled(f"{conf.type}: ipam.routes", Code.INVALID_CONFIG)
        delegation = Delegation.of(conf, self.invocation)
        given = self._ask(delegation)
        return given.settled(f"result of {delegation.plugin}.routes", Code.DELEGATE_FAILED)

    def give_back(self) -> None:
        """Nothing came of it."""
        if self.leases:
            self.pools.release(Owner.of(self.invocation), self.leases, used=False)
        if self.asked is not None:
            try:
                Delegation.from_record(self.asked.delegate or {}).delete(self.host)
                self.store.forget(self.asked.id)
            except CniError as error:
                log.warning("giving addresses back: %s", error)

    def _ask(self, delegation: Delegation) -> LeaseSet:
        """Ask another plugin; while it works, the journal knows that it was asked."""
        asked = self.store.begin(
            Attachment(
                network=self.conf.name,
                container=self.invocation.container_id,
                ifname=self.invocation.ifname,
                plugin=self.conf.type,
                request_id=self.request_id,
                host_cookie=self.host.cookie,
                delegate=delegation.to_record(),
            )
        )
        try:
            given = delegation.add(self.host)
        except BaseException:
            self.store.forget(asked.id)
            raise
        # CHECK and DEL come with what it answered, not with what the mode made of that.
        result = given.result(self.conf.cni_version).to_json(self.conf.cni_version)
        config = {**delegation.config, "prevResult": result}
        delegate = msgspec.structs.replace(delegation, config=config).to_record()
        self.asked = msgspec.structs.replace(asked, delegate=delegate)
        self.dns = given.dns
        return given
