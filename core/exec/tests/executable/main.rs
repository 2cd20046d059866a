//! The executable as a container runtime sees it, before agents of every temper.

mod alone;
mod answers;
mod failures;
#[path = "../../src/msgpack.rs"]
#[allow(dead_code, reason = "the executable uses all of it")]
mod msgpack;
mod oneshot;
mod support;
