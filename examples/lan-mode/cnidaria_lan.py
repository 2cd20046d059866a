"""A network mode: pods on the LAN of one of the node's interfaces, each with a MAC of its own."""

from typing import Annotated, Any

from cnidaria.api import Mode, Network, Request
from cnidaria.cni.fields import Doc, InterfaceName, ModeConfig
from cnidaria.cni.result import Interface, Ip, Result
from cnidaria.hookspecs import hookimpl
from cnidaria.plan.objects import Address, Macvlan, Route
from cnidaria.plan.plan import Plan


class LanConfig(ModeConfig):
    master: Annotated[InterfaceName, Doc("the node's interface whose LAN the pods join")]


class Lan(Mode[LanConfig]):
    type = "lan"
    Config = LanConfig

    def attach(self, request: Request, net: Network[LanConfig]) -> Plan:
        lease = net.lease(request)  # from the conflist's ipam, or any other IPAM plugin
        dev, mac = request.ifname, request.mac
        link = Macvlan(dev, master=net.config.master, mac=mac, alias=request.alias)
        ips = [Ip(f"{a.address}/{a.prefix_len}", a.gateway, interface=0) for a in lease.addresses]
        addresses = [Address(dev, ip.address, nodad=True, where="pod") for ip in ips]
        gateways = {":" in a.address: a.gateway for a in lease.addresses}  # by family
        routes = [
            Route(r.dst, via=r.gw or gateways.get(":" in r.dst), dev=dev, where="pod")
            for r in lease.routes
        ]
        interface = Interface(dev, mac, sandbox=request.netns)
        result = Result(interfaces=(interface,), ips=tuple(ips), routes=lease.routes, dns=lease.dns)
        return Plan([link, *addresses, *routes], result=result)


@hookimpl
def cnidaria_modes() -> list[type[Mode[Any]]]:
    return [Lan]
