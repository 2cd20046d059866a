//! The executable behind every CNI type of cnidaria.
//!
//! It hands the request of the container runtime to the agent, or, where none runs, to a Python that
//! serves just this one. The frames are described in the README beside the manifest.

mod about;
mod agent;
mod cni;
mod deadline;
mod msgpack;
mod oneshot;
mod request;
mod settings;

use std::env;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::process::ExitCode;

use agent::{Failure, Reply};
use cni::Error;
use deadline::Deadline;
use request::Request;
use settings::Settings;

fn main() -> ExitCode {
    let Some(command) = env::var_os("CNI_COMMAND").filter(|command| !command.is_empty()) else {
        return introduce();
    };
    let mut config = Vec::new();
    match serve(&command, &mut config) {
        Ok(reply) => print(&reply.stdout, &reply.stderr, reply.exit),
        // Also a configuration that could be read in part only may tell its version.
        Err(error) => print(error.to_json(&config).as_bytes(), b"", 1),
    }
}

fn serve(command: &OsStr, config: &mut Vec<u8>) -> Result<Reply, Error> {
    let settings = Settings::load();
    let deadline = Deadline::after(settings.as_ref().unwrap_or(&Settings::default()).timeout);
    request::read_config(config, deadline)?;
    let settings = settings?;
    if command == "VERSION" {
        let stdout = cni::version_json(config).into_bytes();
        return Ok(Reply { exit: 0, stdout, stderr: Vec::new() });
    }
    let request = Request::gather(config)?;
    match agent::ask(&settings.socket, &request, deadline) {
        Ok(reply) => Ok(reply),
        Err(Failure::Refused(error)) => Err(error),
        Err(Failure::Absent) => Err(oneshot::run(&settings, &request, deadline)),
    }
}

fn introduce() -> ExitCode {
    match Settings::load() {
        Ok(settings) => print(b"", about::text(&settings).as_bytes(), 0),
        Err(error) => print(b"", format!("{}: {}\n", error.msg, error.details).as_bytes(), 1),
    }
}

/// Writes both streams; the exit code tells also that stdout could not be written.
fn print(stdout: &[u8], stderr: &[u8], exit: u8) -> ExitCode {
    // Where even stderr is broken, there is nobody left to tell.
    let _ = io::stderr().write_all(stderr);
    let mut out = io::stdout();
    match out.write_all(stdout).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::from(exit),
        Err(_) => ExitCode::FAILURE,
    }
}
