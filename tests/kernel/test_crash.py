"""``kill -9`` anywhere: after recovery there is a complete attachment, or nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.netns import NetNS
from cnidaria.plan.attachment import Attachment
from cnidaria.plan.engine import Engine
from cnidaria.plan.journal import frame, parse
from cnidaria.plan.reconcile import Reconciler
from support import mortal
from support.attachments import NODE, attachment, bring_up, engine, links, ours
from support.namespaces import new_namespace

MOST_STEPS = 200
PATIENCE = 60.0


@pytest.fixture
def node(host: NetNS) -> NetNS:
    bring_up(host)
    return host


def lives(verb: str, steps: int, directory: Path, host: NetNS, *pods: NetNS) -> bool:
    """Whether a process that dies after so many steps has done it before."""
    fds = [host.fd, *(pod.fd for pod in pods)]
    command = [sys.executable, mortal.__file__, verb, directory, steps, *fds]
    done = subprocess.run(
        list(map(str, command)), pass_fds=fds, check=False, timeout=PATIENCE, capture_output=True
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode == 0


def settled(directory: Path, host: NetNS, *pods: NetNS) -> tuple[Engine, list[Attachment]]:
    """What the next process finds, once it has recovered: whole attachments and nothing else."""
    it = engine(directory)
    assert it.recover(host).failed == {}
    left = it.store.all()
    wanted = {f"c{n}": pod for n, pod in enumerate(pods, 1)}
    for one in left:
        assert one.state == "attached"
        assert it.check(one, host, wanted[one.container]) is None
        again = attachment(int(one.container[1:]), wanted[one.container])
        if one.adopted:
            assert {lease.address for lease in one.leases} == {
                lease.address for lease in again.leases
            }
            on_links = [obj for obj in again.objects if obj.ends() or obj.on()]
            pod = wanted[one.container]
            whole = replace(one, objects=tuple(on_links), netns_cookie=pod.cookie)
            assert it.check(whole, host, pod) is None
            continue
        assert (one.leases, one.result, one.objects) == (again.leases, again.result, again.objects)
    names = {f"cnd{one.container[1:]}" for one in left}
    assert links(host) == names
    for container, pod in wanted.items():
        assert links(pod) == {"eth0" for one in left if one.container == container}
    # All that bears our mark belongs to one of them.
    claimed = {obj.key for one in left for obj in one.objects if obj.where == "host"}
    assert [obj for obj in ours(host) if obj.key not in claimed] == []
    return it, left


def test_killed_at_every_step_of_add(node: NetNS, pod: NetNS, tmp_path: Path) -> None:
    undone = 0
    for steps in range(MOST_STEPS):
        directory = tmp_path / str(steps)
        complete = lives("ADD", steps, directory, node, pod)
        it, left = settled(directory, node, pod)
        undone += not left
        # The runtime asks again, and then deletes.
        made = it.attach(attachment(1, pod, request_id=b"\1"), node, pod)
        assert it.check(made, node, pod) is None
        if left:
            assert made == left[0]
        it.detach(made.key, node, pod)
        assert settled(directory, node, pod)[1] == []
        if complete:
            assert left
            break
    # Every object is at least one step, and only the last record makes it whole.
    assert undone >= len(made.objects)
    assert steps <= undone + 2


def test_killed_at_every_step_of_del(node: NetNS, pod: NetNS, tmp_path: Path) -> None:
    kept = 0
    for steps in range(MOST_STEPS):
        directory = tmp_path / str(steps)
        made = engine(directory).attach(attachment(1, pod), node, pod)
        complete = lives("DEL", steps, directory, node, pod)
        it, left = settled(directory, node, pod)
        kept += bool(left)
        it.detach(made.key, node, pod)
        assert settled(directory, node, pod)[1] == []
        if complete:
            assert not left
            break
    # Once the intent is recorded there is no way back.
    assert kept <= 1
    assert steps >= 5


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_killed_while_many_come_and_go(verb: str, node: NetNS, tmp_path: Path) -> None:
    with ExitStack() as stack:
        pods = [stack.enter_context(new_namespace()) for _ in range(3)]
        for steps in range(1, MOST_STEPS, 3):
            directory = tmp_path / str(steps)
            if verb == "DEL":
                before = engine(directory)
                for n, pod in enumerate(pods, 1):
                    before.attach(attachment(n, pod), node, pod)
            complete = lives(verb, steps, directory, node, *pods)
            it, left = settled(directory, node, *pods)
            if complete:
                assert len(left) == (3 if verb == "ADD" else 0)
            for one in left:
                it.detach(one.key, node)
            assert settled(directory, node, *pods)[1] == []
            if complete:
                break


def test_killed_while_it_recovers(node: NetNS, pod: NetNS, tmp_path: Path) -> None:
    """Recovery is a DEL: killed in the middle, the next one finishes."""
    for steps in range(0, MOST_STEPS, 2):
        directory = tmp_path / str(steps)
        for killed_at in (10, steps):
            lives("ADD", killed_at, directory, node, pod)
            complete = lives("DEL", steps, directory, node, pod)
            assert settled(directory, node, pod)[1] == [] or not complete
            for one in settled(directory, node, pod)[1]:
                engine(directory).detach(one.key, node, pod)
        if complete:
            break


def test_a_truncated_journal_leaves_whole_attachments(
    node: NetNS, pod: NetNS, tmp_path: Path
) -> None:
    """What is not in the journal any more is taken over; what is, is complete or undone."""
    journal = tmp_path / "journal"
    with new_namespace() as pod2:
        lengths, length = [0], 0
        while lengths:
            for n, each in ((1, pod), (2, pod2)):
                engine(tmp_path).attach(attachment(n, each), node, each)
            data = journal.read_bytes()
            ends = journal_ends(data)
            if not length:  # the first time: where it is going to be cut
                near = {end + by for end in ends for by in (-9, -1, 0, 1, 9)}
                lengths = sorted(near & set(range(len(data) + 1)))
            length = lengths.pop()
            journal.write_bytes(data[:length])
            it = engine(tmp_path)
            it.recover(node)
            assert Reconciler(Kernel, node, it.store.frozen).sync(NODE).errors == []
            _, left = settled(tmp_path, node, pod, pod2)
            undone = sum(begun <= length < done for begun, done in (ends[1:3], ends[3:5]))
            assert len(left) == 2 - undone, length
            assert sum(one.adopted for one in left) == sum(length < ends[n] for n in (1, 3))
            for one in left:
                it.detach(one.key, node)
            journal.unlink()


def journal_ends(data: bytes) -> list[int]:
    """Where the records of a journal end: the stamp, then begin and commit of each attachment."""
    records, _, damage = parse(data)
    assert not damage
    lengths = [len(frame(record)) for record in records]
    return [sum(lengths[:n]) for n in range(1, len(lengths) + 1)]
