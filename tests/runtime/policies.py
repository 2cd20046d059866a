"""What policies must do to pods, whichever client attached them."""

from __future__ import annotations

from collections.abc import Callable

from runtime.networks import Network
from runtime.pods import Client, Pod, assert_node_reaches, page
from support.image import PAGE
from support.leftovers import assert_nothing_left, snapshot
from support.node import CommandFailed, Node, wait_for

FILE = "/etc/cnidaria/policies/shop.yaml"
POD = """---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{app: {app}}}}}
"""
ONLY = """---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: db, namespace: default}}
spec:
  podSelector: {{matchLabels: {{app: db}}}}
  ingress:
  - from: [{{podSelector: {{matchLabels: {{app: {app}}}}}}}]
    ports: [{{port: 80}}]
"""
APPS = ("db", "web", "job")


def tell(node: Node, allowed: str, pods: str = "") -> None:
    """Only who has this label reaches db."""
    node.write(f"{FILE}.new", pods + ONLY.format(app=allowed))
    node.path(f"{FILE}.new").rename(node.path(FILE))


def life_under_policies(
    node: Node,
    client: Client,
    network: Network,
    cnidaria: Callable[..., str],
    named: str = "{}",
    *,
    labelled: bool = True,
) -> None:
    """Three pods come; who may reach whom is as it is written, and changes with it; they go.

    Args:
        cnidaria: runs our command on the node.
        named: what the network knows a client's pod as.
        labelled: whether files say what labels pods have; else the client does.
    """
    names = {app: named.format(app) for app in APPS}
    pods = "".join(POD.format(name=name, app=app) for app, name in names.items())
    tell(node, "web", pods if labelled else "")
    client.detach(client.attach("first"))  # with it comes what is the node's, if not before
    before = snapshot(node)
    db, web, job = (client.attach(app) for app in APPS)
    assert_node_reaches(node, db)
    for address in db.addresses:
        assert page(node, address, netns=web.netns) == PAGE
        assert not reaches(node, job, address)
        assert page(node, job_address(job, address), netns=db.netns) == PAGE
    assert "all agree" in cnidaria("policy", "verify", "--flows", "50")
    told = cnidaria("policy", "explain", f"default/{names['job']}", f"{db.addresses[0]}:80")
    assert "NetworkPolicy default/db ingress isolation" in told
    tell(node, "job", pods if labelled else "")
    last = client.attach("last")  # without an agent that is when news are heard of
    wait_for("the change is in force", lambda: reaches(node, job, db.addresses[0]))
    assert not any(reaches(node, web, address) for address in db.addresses)
    for pod in (db, web, job, last):
        client.detach(pod)
    assert_nothing_left(node, before, network.residue)


def job_address(pod: Pod, like: str) -> str:
    """The pod's address of the same family."""
    return next(one for one in pod.addresses if (":" in one) == (":" in like))


def reaches(node: Node, pod: Pod, address: str) -> bool:
    """Whether the web server there answers the pod, which would take no time."""
    host = f"[{address}]" if ":" in address else address
    get = ("timeout", "0.5", "busybox", "wget", "-q", "-O", "-", f"http://{host}/")
    try:
        return node.run(*get, netns=pod.netns).stdout == PAGE
    except CommandFailed:
        return False
