//! What the executable says of itself when nobody asked it to do anything.

use std::time::Duration;

use crate::agent::{self, Failure};
use crate::cni::SUPPORTED_VERSIONS;
use crate::deadline::Deadline;
use crate::settings::Settings;

/// Enough for a connect on the same machine; a person may be waiting.
const PATIENCE: Duration = Duration::from_secs(1);

pub fn text(settings: &Settings) -> String {
    let agent = match agent::open(&settings.socket, Deadline::after(PATIENCE)) {
        Ok(_) => "answers".to_owned(),
        Err(Failure::Absent) => "not running: requests are served without it, slower".to_owned(),
        Err(Failure::Refused(error)) => error.msg,
    };
    format!(
        "CNI plugin of cnidaria {}\n\
         CNI protocol versions supported: {}\n\
         agent: {} ({agent})\n\
         A container runtime runs this file with CNI_COMMAND set; see `cnidaria --help`.\n",
        env!("CARGO_PKG_VERSION"),
        SUPPORTED_VERSIONS.join(", "),
        settings.socket.display(),
    )
}
