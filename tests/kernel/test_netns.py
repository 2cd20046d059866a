from __future__ import annotations

import os
import re
import socket
import threading
from pathlib import Path

import pytest

from cnidaria.kernel.netns import NetNS, NotANamespaceError
from support.namespaces import new_namespace, run


def inode() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def in_thread(function):
    """A thread that is not the main one switches by itself."""
    result = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    thread.join()
    return result[0]


@pytest.mark.parametrize("call", [lambda function: function(), in_thread], ids=["main", "other"])
def test_run_is_inside_and_comes_back(host, call):
    def both():
        return host.run(inode), inode()

    inside, after = call(both)
    assert inside == os.fstat(host.fd).st_ino
    assert after == inode() != inside


@pytest.mark.parametrize("call", [lambda function: function(), in_thread], ids=["main", "other"])
def test_what_the_function_raises_comes_out(host, call):
    def attempt():
        with pytest.raises(ZeroDivisionError):
            host.run(divmod, 1, 0)
        return inode()

    assert call(attempt) == inode()


def test_programs_run_inside(host, pod):
    run(host, "ip", "link", "add", "here", "type", "bridge")
    assert "here" in run(host, "ip", "link")
    assert "here" not in run(pod, "ip", "link")


def test_cookies_tell_namespaces_apart(host, pod):
    with NetNS.from_fd(host.fd) as again, NetNS.current() as own:
        assert again.cookie == host.cookie
        assert len({host.cookie, pod.cookie, own.cookie}) == 3


def test_a_closed_namespace_is_gone_with_its_sockets(host):
    """A socket of the pool would keep the namespace, and every link in it, alive."""
    with new_namespace() as brief:
        run(host, "ip", "link", "add", "veth0", "type", "veth", "peer", "veth1")
        run(host, "ip", "link", "set", "veth1", "netns", f"/proc/{os.getpid()}/fd/{brief.fd}")
        with brief.borrow(0, lambda: brief.socket(socket.AF_NETLINK, socket.SOCK_RAW)):
            pass
        with brief.borrow(0, lambda: pytest.fail("not the idle one")):
            pass
    for _ in range(500):
        if "veth0" not in run(host, "ip", "link"):
            break
    else:
        pytest.fail("the peer is still there")


def test_open_by_path(host):
    with NetNS.open(f"/proc/self/fd/{host.fd}") as again:
        assert again.cookie == host.cookie
        assert str(again) == again.path == f"/proc/self/fd/{host.fd}"
    again.close()


def test_from_fd_leaves_the_callers_descriptor_open(host):
    NetNS.from_fd(host.fd).close()
    os.fstat(host.fd)


@pytest.mark.parametrize("kind", ["file", "directory", "fifo", "device", "mount namespace"])
def test_what_is_no_network_namespace_is_refused(kind, tmp_path):
    path = tmp_path / "it"
    if kind == "file":
        path.write_text("")
    elif kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/null")
    else:
        path = Path("/proc/self/ns/mnt")
    with pytest.raises(NotANamespaceError, match=re.escape(f"{path}: must be a network namespace")):
        NetNS.open(str(path))


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        NetNS.open(str(tmp_path / "nothing"))


def test_no_descriptor_is_left_open(tmp_path):
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    (tmp_path / "file").write_text("")
    NetNS.current().close()
    before = count()
    for _ in range(3):
        NetNS.current().close()
        with pytest.raises(NotANamespaceError):
            NetNS.open(str(tmp_path / "file"))
    assert count() == before
    NetNS.current()  # forgotten, not closed
    assert count() == before


def test_after_a_fork_the_child_has_sockets_of_its_own(host):
    def a_socket() -> socket.socket:
        return host.socket(socket.AF_NETLINK, socket.SOCK_RAW)

    with host.borrow(0, a_socket) as parents:
        pass
    child = os.fork()
    if child == 0:
        try:
            with host.borrow(0, a_socket) as one:
                same = host.run(inode) == os.fstat(host.fd).st_ino
                os._exit(0 if one is not parents and same else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_many_threads_at_once(host, pod):
    wrong = []

    def go(namespace):
        for _ in range(50):
            if namespace.run(inode) != os.fstat(namespace.fd).st_ino:
                wrong.append(namespace)

    threads = [threading.Thread(target=go, args=(one,)) for one in (host, pod) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not wrong
