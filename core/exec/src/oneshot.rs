//! The same request without an agent: this process becomes a Python that serves it and ends.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::cni::{Code, Error};
use crate::deadline::Deadline;
use crate::request::Request;
use crate::settings::Settings;

/// Serves one request read from stdin, and prints its answer as a CNI plugin does.
const MODULE: &str = "cnidaria.node.oneshot";

/// Returns only if it could not be done.
pub fn run(settings: &Settings, request: &Request<'_>, deadline: Deadline) -> Error {
    let left = deadline.remaining().unwrap_or_default();
    match stdin_of(&request.oneshot_frame(left)).and_then(|stdin| {
        inherit_namespaces(request)?;
        Ok(stdin)
    }) {
        Ok(stdin) => exec(settings, stdin),
        Err(error) => {
            Error::new(Code::Io, "cannot prepare a run without the agent", error.to_string())
        }
    }
}

/// A file in memory that starts with the frame: no pipe to be filled, no second process.
fn stdin_of(frame: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(memfd_create(c"cnidaria-request", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(frame)?;
    file.rewind()?;
    Ok(file)
}

fn inherit_namespaces(request: &Request<'_>) -> std::io::Result<()> {
    for (_, file) in request.namespaces() {
        fcntl(file.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
    }
    Ok(())
}

fn exec(settings: &Settings, stdin: File) -> Error {
    let error = Command::new(&settings.python)
        .args(["-I", "-m", MODULE])
        .env("CNIDARIA_STATE_DIR", &settings.state_dir)
        .env("CNIDARIA_SOCKET", &settings.socket)
        .stdin(stdin)
        .exec();
    let msg = format!("no agent answers, and {} cannot be run", settings.python.display());
    Error::new(Code::Io, msg, error.to_string())
}
