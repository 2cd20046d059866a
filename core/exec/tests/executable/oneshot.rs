//! Nobody answers: the request is served without an agent.

use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};

use crate::msgpack::{Value, decode};
use crate::support::{CONFIG, Directory, cni_error, receive, reply, run};

/// Runs ADD, which must end in the stand-in for Python; returns the frame's body.
fn oneshot(directory: &Directory) -> Vec<u8> {
    let output = run(directory.command("ADD").env("CNI_NETNS", "/proc/self/ns/net"), CONFIG);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"the result\n"[..], &b"the log\n"[..]));
    assert_eq!(directory.text("args"), "-I -m cnidaria.node.oneshot");
    let frame = directory.read("stdin");
    let (length, body) = frame.split_first_chunk().unwrap();
    assert_eq!(u32::from_le_bytes(*length) as usize, body.len());
    body.to_vec()
}

#[test]
fn no_socket_at_all() {
    let directory = Directory::new();
    let body = oneshot(&directory);
    let map = decode(&body).unwrap();
    assert_eq!(map.get("stdin").unwrap().as_bytes(), Some(CONFIG));
    let state_dir = directory.path("state").to_str().unwrap().to_owned();
    assert_eq!(directory.text("state_dir"), state_dir);
    assert_eq!(directory.text("socket"), directory.path("agent.sock").to_str().unwrap());
    let left = map.get("timeout_s").unwrap().as_number().unwrap();
    assert!(0.0 < left && left <= 60.0, "{left}");
}

#[test]
fn namespaces_are_inherited() {
    let directory = Directory::new();
    let body = oneshot(&directory);
    let map = decode(&body).unwrap();
    let names = vec![Value::Bytes(b"host"), Value::Bytes(b"pod")];
    assert_eq!(map.get("fds"), Some(&Value::Array(names)));
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    for name in ["host", "pod"] {
        let number = map.get("fd_numbers").unwrap().get(name).unwrap().as_int().unwrap();
        assert_eq!(directory.text(&format!("fd{number}")).trim(), own.to_str().unwrap());
    }
}

#[test]
fn a_socket_that_nobody_listens_on() {
    let directory = Directory::new();
    drop(UnixListener::bind(directory.socket()).unwrap());
    oneshot(&directory);
}

#[test]
fn a_file_or_a_directory_in_the_sockets_place() {
    let directory = Directory::new();
    fs::write(directory.socket(), "").unwrap();
    oneshot(&directory);
    fs::remove_file(directory.socket()).unwrap();
    fs::create_dir(directory.socket()).unwrap();
    oneshot(&directory);
}

#[test]
fn an_agent_that_dies_with_the_request() {
    let directory = Directory::new();
    let agent = directory.agent(|mut stream| receive(&mut stream));
    let body = oneshot(&directory);
    let request = agent.join().unwrap();
    assert_eq!(decode(&body).unwrap().get("id").unwrap().as_bytes(), Some(request.id()));
}

#[test]
fn an_agent_that_dies_at_any_point() {
    let answer = reply(0, b"never seen", b"");
    for sent in [0, 1, 3, 4, 5, answer.len() - 1] {
        let part = answer[..sent].to_vec();
        let directory = Directory::new();
        let agent = directory.agent(move |mut stream| {
            receive(&mut stream);
            stream.write_all(&part).unwrap();
        });
        oneshot(&directory);
        agent.join().unwrap();
    }
}

#[test]
fn an_agent_that_dies_before_it_reads() {
    let directory = Directory::new();
    let agent = directory.agent(|stream: UnixStream| drop(stream));
    oneshot(&directory);
    agent.join().unwrap();
}

#[test]
fn no_interpreter_either() {
    let directory = Directory::new();
    let python = directory.path("no-python");
    let output = run(directory.command("DEL").env("CNIDARIA_PYTHON", &python), CONFIG);
    let text = cni_error(&output, 5);
    assert!(text.contains(python.to_str().unwrap()) && text.contains("No such file"), "{text}");
}
