//! Where the agent listens and how to run without it: defaults, then the trailer, then the environment.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cni::{Code, Error};
use crate::msgpack;

/// The last bytes of an executable that `cnidaria install` wrote.
const MAGIC: &[u8; 8] = b"CNIDARIA";
/// Length (u32, little-endian) and magic.
const FOOTER_LEN: usize = 12;
/// No honest trailer is longer; it bounds what a damaged length can make us read.
const MAX_TRAILER: u64 = 64 * 1024;
/// Bounds of the deadline: a longer one would outlast every runtime's own.
const TIMEOUT_SECONDS: std::ops::RangeInclusive<f64> = 0.01..=3600.0;

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The agent's Unix socket.
    pub socket: PathBuf,
    /// The interpreter of the one-shot run; without a slash it is looked up on PATH.
    pub python: PathBuf,
    /// Where the journal and the lock are.
    pub state_dir: PathBuf,
    /// For the whole life of the executable.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            socket: "/run/cnidaria/agent.sock".into(),
            python: "python3".into(),
            state_dir: "/run/cnidaria".into(),
            timeout: Duration::from_secs(60),
        }
    }
}

impl Settings {
    /// The settings of this process.
    pub fn load() -> Result<Self, Error> {
        let mut settings = Self::default();
        if let Some(trailer) = own_trailer()? {
            settings.merge_trailer(&trailer)?;
        }
        settings.merge_environment(|name| env::var_os(name).filter(|value| !value.is_empty()))?;
        Ok(settings)
    }

    fn merge_trailer(&mut self, trailer: &[u8]) -> Result<(), Error> {
        let map = msgpack::decode(trailer).ok_or_else(|| damaged("it is not msgpack"))?;
        for (key, slot) in [
            ("socket", &mut self.socket),
            ("python", &mut self.python),
            ("state_dir", &mut self.state_dir),
        ] {
            if let Some(value) = map.get(key) {
                let bytes =
                    value.as_bytes().ok_or_else(|| damaged(&format!("{key} is no path")))?;
                *slot = Path::new(std::ffi::OsStr::from_bytes(bytes)).into();
            }
        }
        if let Some(value) = map.get("timeout_s") {
            let seconds = value.as_number().and_then(timeout);
            self.timeout = seconds.ok_or_else(|| damaged("timeout_s is not 0.01 to 3600"))?;
        }
        Ok(())
    }

    fn merge_environment(&mut self, get: impl Fn(&str) -> Option<OsString>) -> Result<(), Error> {
        for (name, slot) in [
            ("CNIDARIA_SOCKET", &mut self.socket),
            ("CNIDARIA_PYTHON", &mut self.python),
            ("CNIDARIA_STATE_DIR", &mut self.state_dir),
        ] {
            if let Some(value) = get(name) {
                *slot = value.into();
            }
        }
        if let Some(value) = get("CNIDARIA_TIMEOUT") {
            let seconds = value.to_str().and_then(|text| text.parse().ok()).and_then(timeout);
            self.timeout = seconds.ok_or_else(|| {
                let msg = format!("CNIDARIA_TIMEOUT: {value:?} is not a number of seconds");
                Error::new(Code::InvalidEnvironment, msg, "allowed: 0.01 to 3600")
            })?;
        }
        Ok(())
    }
}

fn timeout(seconds: f64) -> Option<Duration> {
    TIMEOUT_SECONDS.contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

fn damaged(what: &str) -> Error {
    let msg = format!("settings at the end of the executable are damaged: {what}");
    Error::new(Code::Internal, msg, "run `cnidaria install` again")
}

fn own_trailer() -> Result<Option<Vec<u8>>, Error> {
    // Without /proc there can be no namespace to pass on either; that error says more.
    let Ok(file) = File::open("/proc/self/exe") else {
        return Ok(None);
    };
    let length = file.metadata().map(|meta| meta.len()).unwrap_or_default();
    read_trailer(&file, length)
}

/// The trailer's msgpack, or None where the file ends without the magic.
fn read_trailer(file: &impl FileExt, file_len: u64) -> Result<Option<Vec<u8>>, Error> {
    let mut footer = [0; FOOTER_LEN];
    let Some(footer_at) = file_len.checked_sub(FOOTER_LEN as u64) else {
        return Ok(None);
    };
    if file.read_exact_at(&mut footer, footer_at).is_err() || !footer.ends_with(MAGIC) {
        return Ok(None);
    }
    let [a, b, c, d, ..] = footer;
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    let start = footer_at.checked_sub(length).filter(|_| length <= MAX_TRAILER);
    let start = start.ok_or_else(|| damaged(&format!("their length is {length} bytes")))?;
    let mut trailer = vec![0; usize::try_from(length).expect("bounded above")];
    file.read_exact_at(&mut trailer, start).map_err(|error| damaged(&error.to_string()))?;
    Ok(Some(trailer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgpack::Writer;

    struct Bytes(Vec<u8>);

    impl FileExt for Bytes {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
            let at = usize::try_from(offset).unwrap().min(self.0.len());
            let n = buf.len().min(self.0.len() - at);
            buf[..n].copy_from_slice(&self.0[at..at + n]);
            Ok(n)
        }

        fn write_at(&self, _: &[u8], _: u64) -> std::io::Result<usize> {
            unreachable!("settings are only read")
        }
    }

    fn read(bytes: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        read_trailer(&Bytes(bytes.to_vec()), bytes.len() as u64)
    }

    fn with_footer(trailer: &[u8], length: u32) -> Vec<u8> {
        [b"\x7fELF...", trailer, &length.to_le_bytes(), MAGIC].concat()
    }

    #[test]
    fn trailer_is_found_or_absent_or_damaged() {
        assert_eq!(read(b"").unwrap(), None);
        assert_eq!(read(b"\x7fELF, and no trailer at all").unwrap(), None);
        assert_eq!(read(&with_footer(b"abc", 3)).unwrap(), Some(b"abc".to_vec()));
        assert!(read(&with_footer(b"abc", 1000)).unwrap_err().msg.contains("1000 bytes"));
        assert!(read(&with_footer(b"abc", u32::MAX)).is_err());
    }

    #[test]
    fn environment_beats_trailer_beats_default() {
        let mut writer = Writer::default();
        writer.map(3).str("socket").str("/t.sock").str("python").bin(b"/t/python");
        writer.str("timeout_s").float(2.5);
        let mut settings = Settings::default();
        settings.merge_trailer(&writer.into_bytes()).unwrap();
        let env = |name: &str| (name == "CNIDARIA_SOCKET").then(|| "/e.sock".into());
        settings.merge_environment(env).unwrap();
        let expected = Settings {
            socket: "/e.sock".into(),
            python: "/t/python".into(),
            state_dir: "/run/cnidaria".into(),
            timeout: Duration::from_millis(2500),
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn bad_values_are_named() {
        let mut settings = Settings::default();
        for text in ["0", "-1", "NaN", "1e9", "soon"] {
            let env = |name: &str| (name == "CNIDARIA_TIMEOUT").then(|| text.into());
            let error = settings.merge_environment(env).unwrap_err();
            assert!(
                error.msg.contains("CNIDARIA_TIMEOUT") && error.msg.contains(text),
                "{error:?}"
            );
        }
        let mut writer = Writer::default();
        writer.map(1).str("socket").int(7);
        assert!(settings.merge_trailer(&writer.into_bytes()).unwrap_err().msg.contains("socket"));
        assert!(settings.merge_trailer(b"\xc1").is_err());
        assert_eq!(settings, Settings::default());
    }
}
