//! What an agent gets, and what becomes of its answer.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use nix::sys::stat::{Mode, fstat};
use nix::unistd::mkfifo;

use crate::support::{CONFIG, Directory, Received, receive, reply, run};

/// One exchange; returns what the agent got and what the runtime got.
fn exchange(
    directory: &Directory,
    environment: &[(&str, &str)],
    config: &[u8],
    answer: Vec<u8>,
) -> (Received, std::process::Output) {
    let agent = directory.agent(move |mut stream| {
        let request = receive(&mut stream);
        stream.write_all(&answer).unwrap();
        request
    });
    let mut command = directory.command("ADD");
    let output = run(command.envs(environment.iter().copied()), config);
    (agent.join().unwrap(), output)
}

#[test]
fn the_answer_is_the_agents() {
    let directory = Directory::new();
    let (_, output) = exchange(&directory, &[], CONFIG, reply(0, b"{}\n", b"said\n"));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"{}\n"[..], &b"said\n"[..]));
}

#[test]
fn the_exit_code_is_the_agents_and_its_answer_may_be_large() {
    let large = vec![b'x'; 5 << 20];
    let directory = Directory::new();
    let (_, output) = exchange(&directory, &[], CONFIG, reply(255, &large, b""));
    assert_eq!(output.status.code(), Some(255));
    assert!(output.stdout == large);
}

#[test]
fn the_request_is_whole() {
    let mut config = CONFIG.to_vec();
    config.resize(1024 * 1024, b' ');
    let environment = [("CNI_ARGS", "K8S_POD_NAME=ü"), ("CNI_NETNS", "/proc/self/ns/net")];
    let directory = Directory::new();
    let (request, _) = exchange(&directory, &environment, &config, reply(0, b"", b""));
    let map = request.map();
    assert_eq!(map.get("v").unwrap().as_int(), Some(1));
    assert_eq!(map.get("stdin").unwrap().as_bytes(), Some(&config[..]));
    assert_eq!(map.get("pod_errno"), None);
    assert_eq!(request.id().len(), 16);
    assert_eq!(request.env("CNI_COMMAND").as_deref(), Some("ADD"));
    assert_eq!(request.env("CNI_ARGS").as_deref(), Some("K8S_POD_NAME=ü"));
    assert_eq!(request.env("DUMP"), None);
    let argv0 = map.get("argv0").unwrap().as_bytes().unwrap();
    assert_eq!(argv0, env!("CARGO_BIN_EXE_cnidaria-cni").as_bytes());
}

#[test]
fn both_namespaces_are_attached() {
    let directory = Directory::new();
    let environment = [("CNI_NETNS", "/proc/self/ns/net")];
    let (request, _) = exchange(&directory, &environment, CONFIG, reply(0, b"", b""));
    assert_eq!(request.fd_names(), ["host", "pod"]);
    let own = fs::metadata("/proc/self/ns/net").unwrap();
    for fd in &request.fds {
        let stat = fstat(fd).unwrap();
        assert_eq!((stat.st_dev, stat.st_ino), (own.dev(), own.ino()));
    }
}

#[test]
fn a_namespace_that_cannot_be_opened_is_told() {
    let directory = Directory::new();
    let environment = [("CNI_NETNS", "/nowhere/at/all")];
    let (request, _) = exchange(&directory, &environment, CONFIG, reply(0, b"", b""));
    assert_eq!(request.fd_names(), ["host"]);
    let enoent = request.map().get("pod_errno").unwrap().as_int();
    assert_eq!(enoent, Some(i64::from(nix::errno::Errno::ENOENT as i32)));
}

#[test]
fn an_empty_namespace_is_none() {
    let directory = Directory::new();
    let (request, _) = exchange(&directory, &[("CNI_NETNS", "")], CONFIG, reply(0, b"", b""));
    assert_eq!(request.fd_names(), ["host"]);
    assert_eq!(request.map().get("pod_errno"), None);
    assert_eq!(request.env("CNI_NETNS").as_deref(), Some(""));
}

#[test]
fn a_fifo_in_place_of_a_namespace_is_not_waited_for() {
    let directory = Directory::new();
    let fifo = directory.path("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let environment = [("CNI_NETNS", fifo.to_str().unwrap())];
    let (request, _) = exchange(&directory, &environment, CONFIG, reply(0, b"", b""));
    assert_eq!(request.fd_names(), ["host", "pod"]);
}

#[test]
fn every_request_has_its_own_id() {
    let directories = [Directory::new(), Directory::new()];
    let ids = directories.each_ref().map(|directory| {
        let (request, _) = exchange(directory, &[], CONFIG, reply(0, b"", b""));
        request.id().to_vec()
    });
    assert_ne!(ids[0], ids[1]);
}
