//! Agents that must not be believed, or not be waited for any longer.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use nix::unistd::Uid;
use std::os::fd::AsRawFd;

use crate::support::{CONFIG, Directory, cni_error, frame, receive, reply, run, start};

/// The deadline of tests that see it pass.
const SOON: &str = "0.3";

fn with_agent(serve: impl FnOnce(UnixStream) + Send + 'static) -> Output {
    let directory = Directory::new();
    let agent = directory.agent(serve);
    let output = run(directory.command("ADD").env("CNIDARIA_TIMEOUT", SOON), CONFIG);
    agent.join().unwrap();
    output
}

/// Keeps the connection until the other side gives up.
fn hang(mut stream: UnixStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn an_agent_that_does_not_answer() {
    let text = cni_error(&with_agent(hang), 11);
    assert!(text.contains("agent.sock did not answer in time"), "{text}");
}

#[test]
fn an_agent_that_does_not_read() {
    let directory = Directory::new();
    let mut config = CONFIG.to_vec();
    config.resize(1024 * 1024, b' ');
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let agent = directory.agent(move |stream| {
        let _ = wait.recv();
        drop(stream);
    });
    let output = run(directory.command("ADD").env("CNIDARIA_TIMEOUT", SOON), &config);
    cni_error(&output, 11);
    drop(done);
    agent.join().unwrap();
}

#[test]
fn an_agent_that_answers_byte_by_byte() {
    let output = with_agent(|mut stream| {
        receive(&mut stream);
        for byte in reply(0, &[b'x'; 1000], b"") {
            if stream.write_all(&[byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    cni_error(&output, 11);
}

#[test]
fn an_agent_that_does_not_accept() {
    let directory = Directory::new();
    let address = UnixAddr::new(&directory.socket()).unwrap();
    let new = |flags| socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
    let listener = new(SockFlag::empty());
    bind(listener.as_raw_fd(), &address).unwrap();
    listen(&listener, Backlog::new(1).unwrap()).unwrap();
    let mut waiting = Vec::new();
    for _ in 0..16 {
        let client = new(SockFlag::SOCK_NONBLOCK);
        let full = connect(client.as_raw_fd(), &address).is_err();
        waiting.push(client);
        if full {
            break;
        }
    }
    assert!(waiting.len() < 16, "the backlog is never full");
    let output = run(directory.command("ADD").env("CNIDARIA_TIMEOUT", SOON), CONFIG);
    cni_error(&output, 11);
}

#[test]
fn a_reply_that_is_too_large() {
    let output = with_agent(|mut stream| {
        receive(&mut stream);
        stream.write_all(&(16 * 1024 * 1024 + 1u32).to_le_bytes()).unwrap();
        hang(stream);
    });
    let text = cni_error(&output, 100);
    assert!(text.contains("16777217 bytes, at most 16777216"), "{text}");
}

#[test]
fn replies_that_are_not_understood() {
    let other_version = reply(0, b"", b"").iter().map(|b| if *b == 1 { 2 } else { *b }).collect();
    for answer in
        [frame(b"HTTP/1.1 400 Bad Request\r\n"), frame(b""), reply(256, b"", b""), other_version]
    {
        let output = with_agent(move |mut stream| {
            receive(&mut stream);
            stream.write_all(&answer).unwrap();
            hang(stream);
        });
        let text = cni_error(&output, 100);
        assert!(text.contains("not understood"), "{text}");
    }
}

#[test]
fn a_socket_of_somebody_else() {
    if !Uid::effective().is_root() {
        eprintln!("left out: needs root to listen as another user");
        return;
    }
    let directory = Directory::new();
    let socket = directory.socket();
    fs::set_permissions(directory.path("."), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .unwrap();
    let listener =
        std::thread::spawn(move || become_nobody().then(|| UnixListener::bind(socket).unwrap()));
    let Some(listener) = listener.join().unwrap() else {
        eprintln!("left out: no other user in this user namespace");
        return;
    };
    let output = run(&mut directory.command("ADD"), CONFIG);
    let text = cni_error(&output, 11);
    assert!(text.contains("belongs to user 65534"), "{text}");
    drop(listener);
}

/// Changes the effective user of this thread alone; a listener bears who made it.
#[allow(unsafe_code)]
fn become_nobody() -> bool {
    let (keep, nobody) = (-1i32, 65534);
    // SAFETY: no memory is passed.
    unsafe { nix::libc::syscall(nix::libc::SYS_setresuid, keep, nobody, keep) == 0 }
}

#[test]
fn a_socket_whose_path_is_too_long() {
    let directory = Directory::new();
    let long = directory.path(&"x".repeat(200));
    let output = run(directory.command("ADD").env("CNIDARIA_SOCKET", long), CONFIG);
    let text = cni_error(&output, 5);
    assert!(text.contains("agent's socket") && text.contains("xxx"), "{text}");
}

#[test]
fn a_configuration_of_20_mib() {
    let directory = Directory::new();
    let mut config = CONFIG.to_vec();
    config.resize(20 << 20, b' ');
    let text = cni_error(&run(&mut directory.command("ADD"), &config), 6);
    assert!(text.contains("larger than 1048576 bytes"), "{text}");
}

#[test]
fn a_configuration_that_does_not_end() {
    let directory = Directory::new();
    let mut child = start(directory.command("ADD").env("CNIDARIA_TIMEOUT", SOON));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(CONFIG).unwrap();
    let text = cni_error(&child.wait_with_output().unwrap(), 5);
    assert!(text.contains("stdin"), "{text}");
    drop(stdin);
}

#[test]
fn an_environment_that_is_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let directory = Directory::new();
    let value = std::ffi::OsStr::from_bytes(b"IP=\xff");
    let text = cni_error(&run(directory.command("ADD").env("CNI_ARGS", value), CONFIG), 4);
    assert!(text.contains("CNI_ARGS is not UTF-8"), "{text}");
    let long = "x".repeat(70_000);
    let text = cni_error(&run(directory.command("ADD").env("CNI_ARGS", long), CONFIG), 4);
    assert!(text.contains("CNI_ARGS is longer"), "{text}");
    let text = cni_error(&run(directory.command("ADD").env("CNIDARIA_TIMEOUT", "1h"), CONFIG), 4);
    assert!(text.contains("CNIDARIA_TIMEOUT") && text.contains("1h"), "{text}");
}

#[test]
fn nobody_reads_the_answer() {
    let directory = Directory::new();
    let agent = directory.agent(|mut stream| {
        receive(&mut stream);
        stream.write_all(&reply(0, &[b'x'; 1 << 20], b"")).unwrap();
    });
    let mut command = directory.command("ADD");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    agent.join().unwrap();
}
