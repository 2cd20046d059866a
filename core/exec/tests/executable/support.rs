//! A directory of its own for each test, an agent in a thread, and the executable started as a runtime does.

use std::fs;
use std::io::{ErrorKind, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::msgpack::{Value, Writer, decode};

pub const CONFIG: &[u8] = br#"{"cniVersion":"0.4.0","name":"n","type":"cnidaria-flat"}"#;

/// A directory that is removed with what is in it. Its path is short, as those of sockets must be.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cnidaria-{}-{count}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("agent.sock")
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    /// A command with nothing of our environment, bound to this directory.
    pub fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cnidaria-cni"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", "c1")
            .env("CNIDARIA_SOCKET", self.socket())
            .env("CNIDARIA_PYTHON", interpreter())
            .env("CNIDARIA_STATE_DIR", self.path("state"))
            .env("DUMP", &self.0);
        command
    }

    /// Listens, and does `serve` with the first connection.
    pub fn agent<T: Send + 'static>(
        &self,
        serve: impl FnOnce(UnixStream) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let listener = UnixListener::bind(self.socket()).unwrap();
        std::thread::spawn(move || serve(listener.accept().unwrap().0))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn interpreter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/executable/interpreter")
}

/// Runs the command with this on stdin.
pub fn run(command: &mut Command, stdin: &[u8]) -> Output {
    let mut child = start(command);
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // It may end without having read it all.
    let feeder = std::thread::spawn(move || drop(pipe.write_all(&stdin)));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    output
}

pub fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for _ in 0..100 {
        match command.spawn() {
            // Another thread's child had our new executable open for writing for an instant.
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(20));
            }
            started => return started.unwrap(),
        }
    }
    panic!("{command:?} is busy");
}

/// A request as the agent gets it.
pub struct Received {
    body: Vec<u8>,
    pub fds: Vec<OwnedFd>,
}

impl Received {
    pub fn map(&self) -> Value<'_> {
        decode(&self.body).unwrap()
    }

    pub fn id(&self) -> &[u8] {
        self.map().get("id").unwrap().as_bytes().unwrap()
    }

    pub fn env(&self, name: &str) -> Option<String> {
        let map = self.map();
        let value = map.get("env")?.get(name)?.as_bytes()?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }

    /// The names of the attached descriptors.
    pub fn fd_names(&self) -> Vec<String> {
        let map = self.map();
        let Some(Value::Array(names)) = map.get("fds") else { panic!("no fds: {map:?}") };
        assert_eq!(names.len(), self.fds.len());
        let name = |value: &Value| String::from_utf8(value.as_bytes().unwrap().to_vec()).unwrap();
        names.iter().map(name).collect()
    }
}

/// Takes one request frame with its descriptors.
pub fn receive(stream: &mut UnixStream) -> Received {
    let mut first = [0; 1];
    let mut space = cmsg_space!([i32; 2]);
    let mut data = [IoSliceMut::new(&mut first)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut data, Some(&mut space), flags).unwrap();
    let mut fds = Vec::new();
    for control in message.cmsgs().unwrap() {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            fds.extend(numbers.into_iter().map(owned));
        }
    }
    let mut rest = [0; 3];
    stream.read_exact(&mut rest).unwrap();
    let length = u32::from_le_bytes([first[0], rest[0], rest[1], rest[2]]);
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).unwrap();
    Received { body, fds }
}

#[allow(unsafe_code)]
fn owned(number: i32) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

pub fn frame(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_le_bytes(), body].concat()
}

pub fn reply(exit: i64, stdout: &[u8], stderr: &[u8]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.map(5).str("v").int(1).str("exit").int(exit).str("later").array(0);
    writer.str("stdout").bin(stdout).str("stderr").bin(stderr);
    frame(&writer.into_bytes())
}

/// Asserts a CNI error for the version of `CONFIG` and returns its text.
pub fn cni_error(output: &Output, code: u32) -> String {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("\"code\": {code},")), "{text}");
    assert!(text.contains("\"cniVersion\": \"0.4.0\""), "{text}");
    text
}
