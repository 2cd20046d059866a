"""The command ``cnidaria policy``: explain, verify, matrix, diff, lint, watch, apply."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cnidaria import CniError, Code, NodeView

DESCRIPTION = "Network policies: why, whether, what if."
EXAMPLES = """\
examples:
  cnidaria policy explain shop/web shop/db:5432          # who decides, where it is written
  cnidaria policy verify                                 # does the kernel do what is written?
  cnidaria policy matrix --svg reach.svg                 # who can reach whom
  cnidaria policy diff --with new.yaml                   # what would that open and close?
  cnidaria policy lint --files policies/                 # what is probably not meant
  cnidaria policy watch                                  # denied connections, live

Without --files they are about this node, as it is; with --files about these files alone,
also where no node is.
"""

Parser = argparse.ArgumentParser


def natural(text: str) -> int:
    """A number from 0 on, for arguments."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text}: must be a number from 0 on")
    return number


def arguments(parser: Parser, common: Parser) -> None:
    """Add the subcommands."""
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    which = argparse.ArgumentParser(add_help=False, parents=[common])
    which.add_argument("--network", metavar="NAME", help="default: the only one with policies")
    which.add_argument("--json", action="store_true", help="for programs")
    offline = argparse.ArgumentParser(add_help=False, parents=[which])
    offline.add_argument(
        "--files", nargs="+", type=Path, metavar="PATH", help="files and directories instead"
    )
    commands = parser.add_subparsers(dest="policy_command", metavar="COMMAND", required=True)

    def add(name: str, summary: str, example: str, parent: Parser) -> Parser:
        return commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"examples:\n{example}",
            parents=[parent],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    one = add(
        "explain",
        "why a connection is allowed or denied",
        "  cnidaria policy explain shop/web shop/db:5432\n"
        "  cnidaria policy explain 203.0.113.5 shop/web:http/tcp\n"
        "  cnidaria policy explain shop/web '[2001:db8::1]:53/udp' --json\n\n"
        "exit code: 0 if it is allowed, 1 if not, 2 if the kernel does otherwise.\n",
        offline,
    )
    one.add_argument("source", metavar="SRC", help="NAMESPACE/POD or an address")
    one.add_argument(
        "target", metavar="DST", help="the same with :PORT (number or name) and /tcp|udp|sctp|icmp"
    )
    one.set_defaults(policy_run=run_explain)

    one = add(
        "verify",
        "whether the kernel does what the policies say",
        "  cnidaria policy verify\n  cnidaria policy verify --flows 1000 --json\n\n"
        "exit code: 0 only if everything agrees.\n",
        which,
    )
    one.add_argument(
        "--flows",
        type=natural,
        default=200,
        metavar="N",
        help="flows to try with a copy of the table; 0: none; default: %(default)s",
    )
    one.add_argument("--seed", type=int, default=0, metavar="N", help="of the choice of flows")
    one.set_defaults(policy_run=run_verify)

    one = add(
        "matrix",
        "who can reach whom, by identity",
        "  cnidaria policy matrix\n  cnidaria policy matrix --files policies/ --svg reach.svg\n",
        offline,
    )
    one.add_argument("--svg", type=Path, metavar="FILE", help="write it as a picture, too")
    one.set_defaults(policy_run=run_matrix)

    one = add(
        "diff",
        "what a change would open and close",
        "  cnidaria policy diff --with new.yaml\n"
        "  cnidaria policy diff --files policies/ --without policies/old.yaml\n",
        offline,
    )
    one.add_argument(
        "--with", dest="more", nargs="+", type=Path, default=[], metavar="PATH",
        help="files that would be applied",
    )  # fmt: skip
    one.add_argument(
        "--without", nargs="+", type=Path, default=[], metavar="PATH",
        help="files whose objects would be deleted",
    )  # fmt: skip
    one.set_defaults(policy_run=run_diff)

    one = add(
        "apply",
        "write objects of files into the cluster store, for all nodes",
        "  cnidaria policy apply policies/ namespaces.yaml\n",
        which,
    )
    one.add_argument("files", nargs="+", type=Path, metavar="PATH", help="files and directories")
    one.set_defaults(policy_run=run_apply)

    one = add(
        "delete",
        "take an object out of the cluster store",
        "  cnidaria policy delete NetworkPolicy shop/db\n",
        which,
    )
    one.add_argument("kind", metavar="KIND")
    one.add_argument("name", metavar="[NAMESPACE/]NAME")
    one.set_defaults(policy_run=run_delete)

    one = add(
        "get",
        "the objects that were applied to the cluster store",
        "  cnidaria policy get\n  cnidaria policy get --json > backup.json\n",
        which,
    )
    one.set_defaults(policy_run=run_get)

    one = add(
        "lint",
        "what is probably not meant",
        "  cnidaria policy lint\n  cnidaria policy lint --files policies/ --json\n\n"
        "exit code: 0 if there is nothing to say.\n",
        offline,
    )
    one.set_defaults(policy_run=run_lint)

    one = add(
        "watch",
        "denied and audited connections, live",
        "  cnidaria policy watch\n  cnidaria policy watch --seconds 60 --json\n",
        which,
    )
    one.add_argument("--seconds", type=float, metavar="S", help="default: until interrupted")
    one.set_defaults(policy_run=run_watch)


def run(options: argparse.Namespace, view: NodeView) -> int:
    """Do it; the exit code."""
    from cnidaria_core import PolicyError

    from cnidaria.kinds import KernelError
    from cnidaria_policy.manifests import Refused

    action: Callable[[argparse.Namespace, NodeView], int] = options.policy_run
    try:
        return action(options, view)
    except (Refused, PolicyError, ValueError) as error:
        raise CniError(Code.INVALID_CONFIG, str(error)) from error
    except KernelError as error:
        raise CniError(Code.KERNEL_REFUSED, str(error)) from error


def tell(options: argparse.Namespace, data: Callable[[], Any], lines: Iterable[str]) -> None:
    """For programs or for people."""
    if options.json:
        sys.stdout.write(json.dumps(data(), indent=2) + "\n")
    else:
        from cnidaria_policy.manifests import printable

        sys.stdout.writelines(f"{printable(line)}\n" for line in lines)


def load(options: argparse.Namespace, view: NodeView) -> tuple[str, Any]:
    """The network's name, ``""`` of files alone, and its policies."""
    from cnidaria_policy.manifests import printable
    from cnidaria_policy.policies import Policies

    if getattr(options, "files", None):
        return "", Policies.from_files(options.files)
    network, policies = Policies.from_node(view, options.network)
    for problem in policies.problems:
        sys.stderr.write(f"cnidaria policy: not in force: {printable(problem)}\n")
    return network, policies


def run_explain(options: argparse.Namespace, view: NodeView) -> int:
    """``cnidaria policy explain``."""
    from dataclasses import asdict

    from cnidaria import NftTable
    from cnidaria.kinds import WholeTable, addresses
    from cnidaria_policy import explain, names
    from cnidaria_policy.enforcer import mark

    network, policies = load(options, view)
    found = explain.explain(policies, options.source, options.target)
    kernel = None
    agrees = True
    if network:
        table = WholeTable(NftTable(names.table(network)), mark(network))
        rules = table.read(view.namespace)
        if rules is not None:
            kernel = list(explain.in_kernel(rules, found, set(addresses(view.namespace))))
            agrees = explain.agrees(policies, found, kernel)
    told = [] if agrees else ["  the kernel does otherwise: see cnidaria policy verify"]
    tell(
        options,
        lambda: {
            **asdict(found),
            "allowed": found.allowed,
            "kernel": None if kernel is None else [asdict(one) for one in kernel],
            "kernel_agrees": None if kernel is None else agrees,
        },
        [*explain.lines(found, kernel), *told],
    )
    return 2 if not agrees else 0 if found.allowed else 1


def run_verify(options: argparse.Namespace, view: NodeView) -> int:
    """``cnidaria policy verify``."""
    from cnidaria_policy.verify import verify

    network, policies = load(options, view)
    report = verify(network, policies, view.namespace, options.flows, options.seed)
    lines = [
        f"network {network}: {report.elements} chains, sets and elements compared, "
        f"{report.flows} flows tried: {'all agree' if report.agrees else 'NOT as it should be'}",
        *(f"  differs  {one}" for one in report.differences),
        *(f"  flow     {one}" for one in report.wrong),
        *([f"  untried  {report.untried}"] if report.untried else []),
        *(f"  note     {one}" for one in report.notes),
    ]
    tell(options, report.to_json, lines)
    return 0 if report.agrees else 1


def run_matrix(options: argparse.Namespace, view: NodeView) -> int:
    """``cnidaria policy matrix``."""
    from cnidaria_policy import matrix, picture

    _, policies = load(options, view)
    found = matrix.matrix(policies)
    if options.svg:
        options.svg.write_text(picture.svg(found))
    tell(options, found.to_json, matrix.lines(found))
    return 0


def run_diff(options: argparse.Namespace, view: NodeView) -> int:
    """``cnidaria policy diff``."""
    from cnidaria_policy import compare
    from cnidaria_policy.policies import manifests

    _, before = load(options, view)
    more = {key: one.obj for key, one in manifests(options.more).items()}
    after = before.changed(more, manifests(options.without))
    found = list(compare.compare(before, after))
    lines = list(compare.lines(found)) or ["nothing changes"]
    tell(options, lambda: [one.to_json() for one in found], lines)
    return 0


def run_lint(options: argparse.Namespace, view: NodeView) -> int:
    """``cnidaria policy lint``."""
    from cnidaria_policy.lint import lint

    _, policies = load(options, view)
    found = lint(policies)
    tell(options, lambda: [one.to_json() for one in found], map(str, found))
    return 1 if found else 0


def store(options: argparse.Namespace, view: NodeView) -> Any:
    """The network's documents. Raises :class:`CniError` where it has no cluster."""
    from cnidaria_policy.policies import choose
    from cnidaria_policy.shared import Shared

    network, config = choose(view, options.network)
    if config.cluster is None:
        raise CniError(
            Code.INVALID_CONFIG,
            f'network {network}: cnidaria-policy has no key "cluster"',
            "its policies are in files, or at the Kubernetes API server",
        )
    return closing_shared(Shared(network, config.cluster, config.node_name))


@contextmanager
def closing_shared(shared: Any) -> Iterator[Any]:
    """Errors of the store as a line, and the store closed at the end."""
    from cnidaria import StoreError

    try:
        yield shared
    except StoreError as error:
        raise CniError(Code.TRY_AGAIN_LATER, str(error)) from error
    finally:
        shared.stop()


def run_apply(options: argparse.Namespace, view: NodeView) -> int:
    """``cnidaria policy apply``."""
    from cnidaria_policy.policies import manifests

    found = manifests(options.files)
    with store(options, view) as shared:
        shared.apply([one.obj for one in found.values()])
    tell(options, lambda: [list(key) for key in found], (f"applied {shown(key)}" for key in found))
    return 0


def run_delete(options: argparse.Namespace, view: NodeView) -> int:
    """``cnidaria policy delete``."""
    from cnidaria_policy.manifests import NAMESPACED

    namespace, _, name = options.name.rpartition("/")
    if options.kind in NAMESPACED:
        namespace = namespace or "default"
    elif namespace:
        raise ValueError(f"{options.kind} {options.name}: has no namespace")
    key = options.kind, namespace, name
    with store(options, view) as shared:
        if not shared.delete(key):
            raise ValueError(f"{shown(key)}: is not in the cluster store")
    tell(options, lambda: list(key), [f"deleted {shown(key)}"])
    return 0


def run_get(options: argparse.Namespace, view: NodeView) -> int:
    """``cnidaria policy get``."""
    from cnidaria_policy.manifests import printable

    with store(options, view) as shared:
        found = shared.written()
        problems = shared.problems
    for problem in problems:
        sys.stderr.write(f"cnidaria policy: {printable(problem)}\n")
    whole = {"apiVersion": "v1", "kind": "List", "items": list(found.values())}
    tell(options, lambda: whole, map(shown, found))
    return 1 if problems else 0


def shown(key: tuple[str, str, str]) -> str:
    """Kind and name for people."""
    kind, namespace, name = key
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def run_watch(options: argparse.Namespace, view: NodeView) -> int:
    """``cnidaria policy watch``."""
    from cnidaria_policy.denied import Refreshed, watch
    from cnidaria_policy.manifests import printable
    from cnidaria_policy.policies import Policies, choose

    network, _ = choose(view, options.network)
    name_of = Refreshed(lambda: Policies.from_node(view, network)[1].name_of)
    for event in watch(network, view.namespace, name_of, options.seconds):
        line = json.dumps(event.to_json()) if options.json else printable(str(event))
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    return 0
