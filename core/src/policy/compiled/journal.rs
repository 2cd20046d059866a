//! What elements of the tables were before they changed.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use super::ids::Clock;
use crate::policy::filter::Filter;
use crate::policy::tables::{AddressRange, FilterId, PeerClass, RowKey, SubjectClass};

/// Small number of a node.
pub type NodeId = u32;

/// The name of a node; `None` where a pod is on none.
pub type NodeName = Option<Arc<str>>;

/// An element, and what it was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The peer class of an address.
    Endpoint(IpAddr, Option<PeerClass>),
    /// The subject class of an address, and the node of the pod.
    Subject(IpAddr, Option<(SubjectClass, NodeName)>),
    /// The peer class of a range.
    Block(Box<AddressRange>, Option<PeerClass>),
    /// A row.
    Row(RowKey, Option<FilterId>),
    /// Whether a node had pods of a subject class.
    Placement(NodeName, SubjectClass, bool),
    /// A filter that is no more.
    Filter(FilterId, Filter),
}

/// Entries of the last versions.
#[derive(Debug, Clone)]
pub struct Journal {
    /// (version of the change, entry), ascending.
    entries: VecDeque<(u64, Entry)>,
    reach: usize,
    clock: Clock,
}

impl Journal {
    /// A journal of so many entries.
    pub fn new(reach: usize) -> Self {
        let clock = Clock { version: 1, oldest: 0 };
        Self { entries: VecDeque::new(), reach, clock }
    }

    /// The version that is being made, and the oldest that is known.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Note what an element was.
    pub fn push(&mut self, entry: Entry) {
        self.entries.push_back((self.clock.version, entry));
    }

    /// The version is made; forget what is too much.
    pub fn step(&mut self) {
        while self.entries.len() > self.reach {
            let Some((dropped, _)) = self.entries.pop_front() else { break };
            self.clock.oldest = dropped;
        }
        while self.entries.front().is_some_and(|(version, _)| *version <= self.clock.oldest) {
            self.entries.pop_front();
        }
        if self.entries.capacity() > 4 * self.entries.len() {
            self.entries.shrink_to(2 * self.entries.len());
        }
        self.clock.version += 1;
    }

    /// All entries after a version, the oldest first.
    pub fn since(&self, version: u64) -> impl Iterator<Item = &Entry> {
        let from = self.entries.partition_point(|(made, _)| *made <= version);
        self.entries.range(from..).map(|(_, entry)| entry)
    }
}
