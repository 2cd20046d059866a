"""Network policies: default deny, allow one, ask why, and prove it against the kernels."""

from __future__ import annotations

import probes
from charts import matrix
from fleet import NAMESPACE, POLICIES, PORT, Pod, wait_until
from stage import Stage

QUIET = 0.7
"""Seconds after which a connection counts as denied."""

DENY = {"podSelector": {}, "policyTypes": ["Ingress"]}
ALLOW = {
    "podSelector": {"matchLabels": {"app": "db"}},
    "ingress": [
        {
            "from": [{"podSelector": {"matchLabels": {"app": "web"}}}],
            "ports": [{"protocol": "TCP", "port": PORT}],
        }
    ],
}


def policies(stage: Stage) -> None:
    """Deny everything, allow one thing, explain and verify; then leave it as it was."""
    screen, web, db = stage.screen, stage.pods[0], stage.pods[-1]
    screen.section(f"Policies: {web.name} is the web server, {db.name} the database")
    stage.write("pods", [_described(pod, web, db) for pod in stage.pods])
    asked = probes.pairs(stage.pods, stage.pods)
    stage.write("deny", [_policy("deny", DENY)])
    _wait_until_denied(db, web)
    open_pairs = probes.admitted(asked, QUIET)
    good = [pair not in open_pairs for pair in asked]
    screen.checks(good, f"default deny: none of {len(asked)} TCP connections begins")
    answers = [
        set(pod.addresses.values()) == probes.answering(pod.node.name, [*pod.addresses.values()])
        for pod in stage.pods
    ]
    screen.checks(answers, "every node still reaches its own pods")
    stage.write("web-to-db", [_policy("web-to-db", ALLOW)])
    wait_until("the one connection", lambda: bool(probes.admitted([(web, db, 4)], QUIET)))
    open_pairs = probes.admitted(asked, QUIET)
    matrix(screen, stage.pods, lambda a, b: {(a, b, 4), (a, b, 6)} <= open_pairs)
    wanted = [(pair in open_pairs) == (pair[:2] == (web, db)) for pair in asked]
    screen.checks(wanted, f"allow one: {web.name} reaches {db.name}, nobody else anybody")
    _explain(stage, web, db)
    _verify(stage)
    for file in POLICIES.iterdir():
        file.unlink()
    wait_until("no policies", lambda: probes.admitted(asked, QUIET) == {*asked})
    screen.check(True, "without policies everybody reaches everybody again")


def _wait_until_denied(*pods: Pod) -> None:
    asked = probes.pairs(pods, pods)
    wait_until("default deny", lambda: not probes.admitted(asked, QUIET / 3))


def _explain(stage: Stage, web: Pod, db: Pod) -> None:
    """Ask the database's node, whose kernel decides."""
    screen = stage.screen
    for source, target, code in ((web, db, 0), (db, web, 1)):
        names = (f"{NAMESPACE}/{source.name}", f"{NAMESPACE}/{target.name}:{PORT}")
        done = target.node.policy("explain", *names)
        screen.say(f"  {screen.paint('cyan', 'cnidaria policy explain ' + ' '.join(names))}")
        for line in done.stdout.splitlines():
            screen.note(line)
        what = "allowed" if code == 0 else "denied"
        screen.check(done.returncode == code, f"it is {what}, and the kernel agrees", done.stderr)


def _verify(stage: Stage) -> None:
    """Every node reads its kernel back, and sends packets through a copy of it."""
    done = {node.name: node.policy("verify") for node in stage.nodes}
    good = [one.returncode == 0 for one in done.values()]
    said = [line for one in done.values() for line in (one.stdout + one.stderr).splitlines()]
    stage.screen.checks(good, "cnidaria policy verify, on every node: the kernel does so", said[0])
    for name, one in done.items():
        stage.screen.note(f"{name}: {one.stdout.strip()}")


def _described(pod: Pod, web: Pod, db: Pod) -> dict[str, object]:
    """The pod as Kubernetes would show it."""
    app = "web" if pod is web else "db" if pod is db else "other"
    addresses = [{"ip": address} for address in pod.addresses.values()]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": NAMESPACE, "name": pod.name, "labels": {"app": app}},
        "spec": {"nodeName": pod.node.name},
        "status": {"phase": "Running", "podIP": addresses[0]["ip"], "podIPs": addresses},
    }


def _policy(name: str, spec: object) -> dict[str, object]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": spec,
    }
