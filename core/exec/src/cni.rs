//! What the executable itself must know of the CNI protocol: errors, and the version of a configuration.

use std::fmt::Write as _;

/// Every version of the specification that cnidaria speaks, oldest first.
pub const SUPPORTED_VERSIONS: [&str; 7] =
    ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Error codes of the specification, section "Error", and the project's own from 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    InvalidEnvironment = 4,
    Io = 5,
    Decode = 6,
    TryAgainLater = 11,
    Internal = 100,
}

/// An error as the runtime shall see it.
#[derive(Debug)]
pub struct Error {
    pub code: Code,
    pub msg: String,
    pub details: String,
}

impl Error {
    pub fn new(code: Code, msg: impl Into<String>, details: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: details.into() }
    }

    /// The JSON object of the specification. `config` is what came on stdin, whatever it is.
    pub fn to_json(&self, config: &[u8]) -> String {
        let version = version_to_answer_in(config);
        let mut out =
            format!("{{\n  \"cniVersion\": \"{version}\",\n  \"code\": {}", self.code as u32);
        out.push_str(",\n  \"msg\": ");
        push_string(&mut out, &self.msg);
        if !self.details.is_empty() {
            out.push_str(",\n  \"details\": ");
            push_string(&mut out, &self.details);
        }
        out.push_str("\n}\n");
        out
    }
}

/// The answer to VERSION.
pub fn version_json(config: &[u8]) -> String {
    let version = version_to_answer_in(config);
    let supported = SUPPORTED_VERSIONS.join("\", \"");
    format!(
        "{{\n  \"cniVersion\": \"{version}\",\n  \"supportedVersions\": [\"{supported}\"]\n}}\n"
    )
}

fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c < ' ' => write!(out, "\\u{:04x}", u32::from(c)).expect("a String takes all"),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The version that the configuration names if it is spoken, else the newest.
///
/// The framework has the same rule (`asked` of `cnidaria.cni.versions`).
fn version_to_answer_in(config: &[u8]) -> &'static str {
    let named = config_version(config);
    let spoken = SUPPORTED_VERSIONS.iter().find(|version| Some(version.as_bytes()) == named);
    spoken.unwrap_or(&SUPPORTED_VERSIONS[SUPPORTED_VERSIONS.len() - 1])
}

/// The top-level `cniVersion` of a configuration, without parsing the rest of it.
///
/// It has to work on broken JSON too, where the error is to name the version. Letter case does not
/// matter and the last one counts, as in Go's decoder.
fn config_version(config: &[u8]) -> Option<&[u8]> {
    let (mut depth, mut key, mut found, mut at) = (0usize, None, None, 0);
    while at < config.len() {
        match config[at] {
            b'"' => {
                let Some(text) = string_at(config, at) else {
                    break;
                };
                at += text.len() + 1;
                match key {
                    Some(k) if depth == 1 && is_version_key(k) => found = Some(text),
                    _ => {}
                }
                key = if key.is_none() { Some(text) } else { None };
            }
            b'{' | b'[' => (depth, key) = (depth + 1, None),
            b'}' | b']' => (depth, key) = (depth.saturating_sub(1), None),
            b',' => key = None,
            _ => {}
        }
        at += 1;
    }
    found
}

/// The raw contents of the string whose opening quote is at `start`; `None` if it does not end.
fn string_at(json: &[u8], start: usize) -> Option<&[u8]> {
    let text = &json[start + 1..];
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })?;
    Some(&text[..end])
}

fn is_version_key(key: &[u8]) -> bool {
    key.eq_ignore_ascii_case(b"cniVersion")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_version_at_the_top_only() {
        let cases: [(&str, Option<&str>); 12] = [
            (r#"{"cniVersion":"1.1.0","name":"n"}"#, Some("1.1.0")),
            (r#"{"name":"n", "CNIVERSION" : "0.4.0"}"#, Some("0.4.0")),
            (r#"{"cniVersion":"0.3.0","cniversion":"0.3.1"}"#, Some("0.3.1")),
            (r#"{"prevResult":{"cniVersion":"0.3.1"},"cniVersion":"1.0.0"}"#, Some("1.0.0")),
            (r#"{"cniVersion":"1.0.0","prevResult":{"cniVersion":"0.3.1"}}"#, Some("1.0.0")),
            (r#"{"x":"cniVersion","y":"0.4.0"}"#, None),
            (r#"{"x":["cniVersion","0.4.0"]}"#, None),
            (r#"{"a\"cniVersion":"0.4.0"}"#, None),
            (r#"{"cniVersion":"1.0.0","broken":"cut"#, Some("1.0.0")),
            (r#"{"":"cniVersion","cniVersion":"0.4.0"}"#, Some("0.4.0")),
            (r#"{"cniVersion":7}"#, None),
            ("", None),
        ];
        for (config, version) in cases {
            let found = config_version(config.as_bytes());
            assert_eq!(found, version.map(str::as_bytes), "{config}");
        }
        assert_eq!(config_version(b"\xff\xfe\"\\"), None);
    }

    #[test]
    fn errors_are_json_whatever_the_text() {
        let error = Error::new(Code::Io, "a \"quoted\"\n\u{1}", "back\\slash");
        let expected = "{\n  \"cniVersion\": \"0.4.0\",\n  \"code\": 5,\n  \
            \"msg\": \"a \\\"quoted\\\"\\n\\u0001\",\n  \"details\": \"back\\\\slash\"\n}\n";
        assert_eq!(error.to_json(br#"{"cniVersion":"0.4.0"}"#), expected);
        assert!(!Error::new(Code::Decode, "m", "").to_json(b"").contains("details"));
    }

    #[test]
    fn a_version_is_echoed_if_it_is_spoken() {
        assert!(version_json(br#"{"cniVersion":"9.0.0"}"#).contains(r#""cniVersion": "1.1.0""#));
        assert!(version_json(br#"{"cniVersion":"0.3.1"}"#).contains(r#""cniVersion": "0.3.1""#));
        assert!(version_json(b"").contains(r#""cniVersion": "1.1.0""#));
    }
}
