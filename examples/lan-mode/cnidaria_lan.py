"""A network mode: pods on the LAN of one of the node's interfaces, each with a MAC of its own."""

from typing import Annotated, Any

from cnidaria import (
    Doc,
    InterfaceName,
    Macvlan,
    Mode,
    ModeConfig,
    Network,
    Plan,
    Request,
    hookimpl,
    wiring,
)


class LanConfig(ModeConfig):
    master: Annotated[InterfaceName, Doc("the node's interface whose LAN the pods join")]


class Lan(Mode[LanConfig]):
    type = "lan"
    Config = LanConfig

    def attach(self, request: Request, net: Network[LanConfig]) -> Plan:
        lease = net.lease(request)  # from the conflist's ipam, or any other IPAM plugin
        link = Macvlan(
            request.ifname, master=net.config.master, mac=request.mac, alias=request.alias
        )
        addresses = wiring.addresses(request, lease)
        return Plan([link, *addresses, *wiring.routes(request, lease)])


@hookimpl
def cnidaria_modes() -> list[type[Mode[Any]]]:
    return [Lan]
