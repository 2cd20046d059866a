//! One exchange with the agent over its Unix socket.

use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt,
    sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use nix::unistd::Uid;

use crate::cni::{Code, Error};
use crate::deadline::Deadline;
use crate::msgpack;
use crate::request::{FRAME_VERSION, Request};

/// Bytes of a reply that are accepted.
const MAX_REPLY: usize = 16 * 1024 * 1024;

#[derive(Debug, PartialEq)]
pub struct Reply {
    pub exit: u8,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Why there is no reply.
#[derive(Debug)]
pub enum Failure {
    /// Nobody listens, or whoever did went away before it answered: do it without.
    Absent,
    /// An agent is there: acting beside it would be wrong.
    Refused(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// Sends the request and waits for its reply.
pub fn ask(path: &Path, request: &Request<'_>, deadline: Deadline) -> Result<Reply, Failure> {
    let mut stream = open(path, deadline)?;
    let exchange = Exchange { path, deadline };
    exchange.send(&mut stream, request)?;
    let mut header = [0; 4];
    exchange.receive(&mut stream, &mut header)?;
    let length = u32::from_le_bytes(header) as usize;
    if length > MAX_REPLY {
        let what = format!("its reply has {length} bytes, at most {MAX_REPLY} are allowed");
        return Err(exchange.bad_reply(&what).into());
    }
    let mut body = vec![0; length];
    exchange.receive(&mut stream, &mut body)?;
    parse(&body).ok_or_else(|| exchange.bad_reply("its reply is not understood").into())
}

/// A connection to a listener that belongs to root or to our own user.
pub fn open(path: &Path, deadline: Deadline) -> Result<UnixStream, Failure> {
    let io_error = |errno: Errno| {
        Error::new(
            Code::Io,
            format!("cannot use the agent's socket {}", path.display()),
            errno.desc(),
        )
    };
    let address = UnixAddr::new(path).map_err(io_error)?;
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .map_err(io_error)?;
    // connect() waits while the listener's backlog is full, for as long as this says.
    let left = deadline.remaining().ok_or_else(|| hung(path))?;
    setsockopt(&fd, sockopt::SendTimeout, &time_value(left)).map_err(io_error)?;
    match connect(fd.as_raw_fd(), &address) {
        Ok(()) => {}
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ECONNREFUSED) => return Err(Failure::Absent),
        Err(Errno::EAGAIN) => return Err(hung(path).into()),
        Err(errno) => return Err(io_error(errno).into()),
    }
    let owner = Uid::from_raw(getsockopt(&fd, sockopt::PeerCredentials).map_err(io_error)?.uid());
    if !owner.is_root() && owner != Uid::effective() {
        let msg = format!("the agent's socket {} belongs to user {owner}", path.display());
        let details = format!("allowed: user 0 or {}", Uid::effective());
        return Err(Error::new(Code::TryAgainLater, msg, details).into());
    }
    let stream = UnixStream::from(fd);
    stream.set_nonblocking(true).map_err(|_| io_error(Errno::last()))?;
    Ok(stream)
}

fn time_value(duration: Duration) -> TimeVal {
    // Zero would mean "for ever".
    let seconds = duration.as_secs().try_into().unwrap_or(i64::MAX);
    TimeVal::new(seconds, i64::from(duration.subsec_micros()).max(1))
}

fn hung(path: &Path) -> Error {
    let msg = format!("the agent at {} did not answer in time", path.display());
    Error::new(Code::TryAgainLater, msg, "see `cnidaria status` and the agent's log")
}

struct Exchange<'a> {
    path: &'a Path,
    deadline: Deadline,
}

impl Exchange<'_> {
    fn send(&self, stream: &mut UnixStream, request: &Request<'_>) -> Result<(), Failure> {
        let frame = request.agent_frame();
        let fds: Vec<_> = request.namespaces().iter().map(|(_, file)| file.as_raw_fd()).collect();
        let mut sent = self.retry(stream, PollFlags::POLLOUT, |stream| {
            let rights = [ControlMessage::ScmRights(&fds)];
            let data = [IoSlice::new(&frame)];
            let flags = MsgFlags::MSG_NOSIGNAL;
            Ok(sendmsg::<()>(stream.as_raw_fd(), &data, &rights, flags, None)?)
        })?;
        while sent < frame.len() {
            sent +=
                self.retry(stream, PollFlags::POLLOUT, |stream| stream.write(&frame[sent..]))?;
        }
        Ok(())
    }

    fn receive(&self, stream: &mut UnixStream, buffer: &mut [u8]) -> Result<(), Failure> {
        let mut got = 0;
        while got < buffer.len() {
            let n =
                self.retry(stream, PollFlags::POLLIN, |stream| stream.read(&mut buffer[got..]))?;
            if n == 0 {
                return Err(Failure::Absent);
            }
            got += n;
        }
        Ok(())
    }

    /// Does one call on the socket, waiting for it as long as the deadline allows.
    fn retry(
        &self,
        stream: &mut UnixStream,
        events: PollFlags,
        mut call: impl FnMut(&mut UnixStream) -> std::io::Result<usize>,
    ) -> Result<usize, Failure> {
        loop {
            let error = match call(stream) {
                Ok(n) => return Ok(n),
                Err(error) => error,
            };
            match error.raw_os_error().map_or(Errno::EIO, Errno::from_raw) {
                Errno::EINTR => {}
                Errno::EAGAIN => {
                    self.deadline.wait(stream.as_fd(), events).map_err(|_| hung(self.path))?;
                }
                Errno::EPIPE | Errno::ECONNRESET => return Err(Failure::Absent),
                errno => return Err(self.bad_reply(errno.desc()).into()),
            }
        }
    }

    fn bad_reply(&self, what: &str) -> Error {
        let msg = format!("the agent at {} cannot be talked to: {what}", self.path.display());
        Error::new(Code::Internal, msg, "agent and executable may be of different versions")
    }
}

fn parse(body: &[u8]) -> Option<Reply> {
    let map = msgpack::decode(body)?;
    if map.get("v")?.as_int()? != FRAME_VERSION {
        return None;
    }
    Some(Reply {
        exit: u8::try_from(map.get("exit")?.as_int()?).ok()?,
        stdout: map.get("stdout")?.as_bytes()?.to_vec(),
        stderr: map.get("stderr")?.as_bytes()?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgpack::Writer;

    fn reply(version: i64, exit: i64) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.map(4).str("v").int(version).str("exit").int(exit);
        writer.str("stdout").bin(b"out").str("stderr").bin(b"err");
        writer.into_bytes()
    }

    #[test]
    fn only_whole_replies_of_our_version_are_understood() {
        let expected = Reply { exit: 3, stdout: b"out".to_vec(), stderr: b"err".to_vec() };
        assert_eq!(parse(&reply(1, 3)), Some(expected));
        assert_eq!(parse(&reply(2, 3)), None);
        assert_eq!(parse(&reply(1, 256)), None);
        assert_eq!(parse(&reply(1, -1)), None);
        assert_eq!(parse(b"\x81\xa1v\x01"), None);
        assert_eq!(parse(b"\x01"), None);
    }
}
