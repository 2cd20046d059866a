//! Small numbers that are used again late.

use std::collections::VecDeque;

/// Let a list be long enough for an index, with an eighth more for what is to come: lists as long as
/// there are pods would be half empty if they doubled.
pub fn make_room<T>(list: &mut Vec<T>, index: u32) {
    let needed = index as usize + 1;
    if needed > list.capacity() {
        list.reserve_exact(needed + needed / 8 + 4 - list.len());
    }
}

/// Where an engine is in time: what is removed now is gone in `version`, and the history reaches
/// back to `oldest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Clock {
    pub version: u64,
    pub oldest: u64,
}

/// Numbers from 0 on. One that was given back is taken again once no version of the
/// history has it any more.
#[derive(Debug, Clone, Default)]
pub struct IdPool {
    next: u32,
    /// (version without it, number), the longest free first.
    free: VecDeque<(u64, u32)>,
}

impl IdPool {
    /// A number that is free.
    pub fn take(&mut self, clock: Clock) -> u32 {
        match self.free.front() {
            Some(&(gone, id)) if gone <= clock.oldest => {
                self.free.pop_front();
                id
            }
            _ => {
                let id = self.next;
                self.next += 1;
                id
            }
        }
    }

    /// Give one back.
    pub fn give(&mut self, id: u32, clock: Clock) {
        self.free.push_back((clock.version, id));
    }
}
