//! What the runtime said: environment, configuration, and the two network namespaces it meant.

use std::env;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::PollFlags;

use crate::cni::{Code, Error};
use crate::deadline::Deadline;
use crate::msgpack::Writer;

/// The version of the frames, in both directions.
pub const FRAME_VERSION: i64 = 1;
/// Bytes of configuration that are accepted: far above any real one, prevResult included.
pub const MAX_CONFIG: usize = 1024 * 1024;
/// One environment variable may be this long; the kernel allows 128 KiB.
const MAX_VARIABLE: usize = 64 * 1024;

#[derive(Debug)]
pub struct Request<'a> {
    /// Names this request for ever: whoever has seen it already answers the same again.
    id: [u8; 16],
    argv0: String,
    env: Vec<(String, String)>,
    stdin: &'a [u8],
    /// The namespace of the caller: the node's, as a rule.
    host: File,
    pod: Option<Result<File, Errno>>,
}

impl<'a> Request<'a> {
    /// Gathers everything beside the configuration, which is only carried along.
    /// The encoding of the environment is judged here, not its contents.
    pub fn gather(stdin: &'a [u8]) -> Result<Self, Error> {
        let env = cni_environment()?;
        let netns = env::var_os("CNI_NETNS").filter(|path| !path.is_empty());
        Ok(Self {
            id: random_id()?,
            argv0: env::args_os().next().unwrap_or_default().to_string_lossy().into_owned(),
            env,
            stdin,
            host: own_netns()?,
            pod: netns.map(|path| open_namespace(&path)),
        })
    }

    /// The namespaces that go along, in the order in which they are attached.
    pub fn namespaces(&self) -> Vec<(&'static str, &File)> {
        let mut files = vec![("host", &self.host)];
        if let Some(Ok(pod)) = &self.pod {
            files.push(("pod", pod));
        }
        files
    }

    /// The frame to the agent: length (u32, little-endian) and a msgpack map.
    pub fn agent_frame(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.write_fields(&mut writer, 0);
        framed(&writer.into_bytes())
    }

    /// The same for a one-shot run, which also needs to know what the agent knows by itself.
    pub fn oneshot_frame(&self, left: Duration) -> Vec<u8> {
        let mut writer = Writer::default();
        self.write_fields(&mut writer, 2);
        writer.str("fd_numbers").map(self.namespaces().len());
        for (name, file) in self.namespaces() {
            writer.str(name).int(i64::from(file.as_raw_fd()));
        }
        writer.str("timeout_s").float(left.as_secs_f64());
        framed(&writer.into_bytes())
    }

    fn write_fields(&self, writer: &mut Writer, more: usize) {
        let errno = match &self.pod {
            Some(Err(errno)) => Some(*errno as i32),
            _ => None,
        };
        writer.map(6 + usize::from(errno.is_some()) + more);
        writer.str("v").int(FRAME_VERSION);
        writer.str("id").bin(&self.id);
        writer.str("argv0").str(&self.argv0);
        writer.str("env").map(self.env.len());
        for (name, value) in &self.env {
            writer.str(name).str(value);
        }
        writer.str("stdin").bin(self.stdin);
        let namespaces = self.namespaces();
        writer.str("fds").array(namespaces.len());
        for (name, _) in namespaces {
            writer.str(name);
        }
        if let Some(errno) = errno {
            writer.str("pod_errno").int(i64::from(errno));
        }
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("its parts are bounded");
    [&length.to_le_bytes(), body].concat()
}

/// Reads the whole of stdin, bounded in size and time. What was read before an error is kept.
pub fn read_config(config: &mut Vec<u8>, deadline: Deadline) -> Result<(), Error> {
    let mut stdin = io::stdin().lock();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        deadline.wait(stdin.as_fd(), PollFlags::POLLIN).map_err(|errno| {
            Error::new(Code::Io, "stdin: the configuration did not come to an end", errno.desc())
        })?;
        match stdin.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(n) => config.extend_from_slice(&chunk[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(Error::new(Code::Io, "stdin: cannot read", error.to_string()));
            }
        }
        if config.len() > MAX_CONFIG {
            let msg = format!("stdin: the configuration is larger than {MAX_CONFIG} bytes");
            return Err(Error::new(Code::Decode, msg, ""));
        }
    }
}

fn cni_environment() -> Result<Vec<(String, String)>, Error> {
    let mut variables = Vec::new();
    for (name, value) in env::vars_os() {
        if !name.as_encoded_bytes().starts_with(b"CNI_") {
            continue;
        }
        let invalid = |what: &str| {
            let msg = format!("environment variable {} {what}", name.to_string_lossy());
            Error::new(Code::InvalidEnvironment, msg, "")
        };
        if value.len() > MAX_VARIABLE {
            return Err(invalid(&format!("is longer than {MAX_VARIABLE} bytes")));
        }
        match (name.to_str(), value.to_str()) {
            (Some(name), Some(value)) => variables.push((name.to_owned(), value.to_owned())),
            _ => return Err(invalid("is not UTF-8")),
        }
    }
    Ok(variables)
}

fn random_id() -> Result<[u8; 16], Error> {
    let mut id = [0; 16];
    let filled = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut id));
    filled.map_err(|error| Error::new(Code::Io, "cannot read /dev/urandom", error.to_string()))?;
    Ok(id)
}

fn own_netns() -> Result<File, Error> {
    let path = "/proc/self/ns/net";
    open_namespace(OsStr::new(path))
        .map_err(|errno| Error::new(Code::Io, format!("cannot open {path}"), errno.desc()))
}

/// Opens without ever waiting: the path is the caller's, and may be a FIFO.
fn open_namespace(path: &OsStr) -> Result<File, Errno> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
    opened.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EINVAL as i32)))
}
