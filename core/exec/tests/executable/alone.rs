//! What the executable does by itself: VERSION, saying what it is, and its settings.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Output;

use crate::msgpack::Writer;
use crate::support::{CONFIG, Directory, cni_error, run};

#[test]
fn version_needs_nobody_and_echoes_the_version() {
    let directory = Directory::new();
    for (config, version) in [(CONFIG, "0.4.0"), (b"", "1.1.0"), (b"{\"cniVersion\":", "1.1.0")] {
        // As podman asks: with a namespace that is none.
        let output = run(directory.command("VERSION").env("CNI_NETNS", "dummy"), config);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(text.contains(&format!("\"cniVersion\": \"{version}\"")), "{text}");
        assert!(
            text.contains("\"supportedVersions\": [\"0.1.0\", ") && text.contains("\"1.1.0\"]")
        );
    }
    assert!(!directory.path("args").exists());
}

#[test]
fn it_says_what_it_is() {
    let directory = Directory::new();
    let about = || {
        let output = run(&mut directory.command(""), b"");
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b""[..]));
        String::from_utf8(output.stderr).unwrap()
    };
    let text = about();
    for part in [env!("CARGO_PKG_VERSION"), "0.3.1", "1.1.0", "agent.sock (not running"] {
        assert!(text.contains(part), "{text}");
    }
    let listener = UnixListener::bind(directory.socket()).unwrap();
    let text = about();
    assert!(text.contains("agent.sock (answers)"), "{text}");
    drop(listener);
}

/// A copy of the executable with this behind its end, run without settings in the environment.
fn installed(directory: &Directory, trailer: &[u8], verb: &str) -> Output {
    let mut bytes = fs::read(env!("CARGO_BIN_EXE_cnidaria-cni")).unwrap();
    bytes.extend_from_slice(trailer);
    let path: PathBuf = directory.path("cnidaria-flat");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = std::process::Command::new(&path);
    command.env_clear().env("CNI_COMMAND", verb).env("DUMP", directory.path("."));
    run(&mut command, CONFIG)
}

fn trailer(map: &[u8]) -> Vec<u8> {
    let length = u32::try_from(map.len()).unwrap().to_le_bytes();
    [map, &length, b"CNIDARIA"].concat()
}

#[test]
fn settings_come_with_the_installed_copy() {
    let directory = Directory::new();
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let mut writer = Writer::default();
    writer.map(4).str("socket").str(&text(directory.socket())).str("timeout_s").int(5);
    writer.str("python").str(&text(crate::support::interpreter()));
    writer.str("state_dir").str(&text(directory.path("installed")));
    let output = installed(&directory, &trailer(&writer.into_bytes()), "ADD");
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(directory.text("state_dir"), text(directory.path("installed")));
}

#[test]
fn damaged_settings_are_an_error() {
    let directory = Directory::new();
    let text = cni_error(&installed(&directory, &trailer(b"\xc1"), "ADD"), 100);
    assert!(text.contains("cnidaria install"), "{text}");
    let cut = [&u32::MAX.to_le_bytes()[..], b"CNIDARIA"].concat();
    cni_error(&installed(&directory, &cut, "ADD"), 100);
}
