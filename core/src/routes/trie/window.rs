//! The runs of one node: which slots have the same value or the same child.

use std::ops::Range;

use super::super::bits::Entry;
use super::super::runs::{Walk, push};
use super::{LEVELS, Runs, Target, slot};

/// Some slots of a node and the routes inside them.
#[derive(Debug)]
pub(super) struct Window<'a> {
    pub level: usize,
    pub slots: Range<u32>,
    /// What has no route inside.
    pub own: u32,
    /// The routes, in their order.
    pub entries: &'a [Entry<u32>],
}

impl Window<'_> {
    /// Adds the runs. `child` makes what one slot has that has longer prefixes, of its own value
    /// and their routes.
    pub fn walk(&self, runs: &mut Runs, mut child: impl FnMut(u32, &[Entry<u32>]) -> Target) {
        let mut state = Walk::new(self.slots.start, self.own);
        let mut rest = self.entries;
        while let Some(first) = rest.first() {
            let here = slot(self.level, first.key.bits);
            state.go_to(here, |start, value| push(runs, start, Target::Value(value)));
            let below = LEVELS[self.level];
            if first.key.length <= below {
                state.enter(here + (1 << (below - first.key.length)), first.value);
                rest = &rest[1..];
            } else {
                let inside = |entry: &Entry<u32>| slot(self.level, entry.key.bits) == here;
                let (within, after) = rest.split_at(leading(rest, inside));
                push(runs, here, child(state.own, within));
                state.at = here + 1;
                rest = after;
            }
        }
        state.go_to(self.slots.end, |start, value| push(runs, start, Target::Value(value)));
    }
}

/// How many items at the front have what no other has: short stretches are found quickly.
fn leading<T>(items: &[T], has: impl Fn(&T) -> bool) -> usize {
    let mut end = 1;
    while end < items.len() && has(&items[end]) {
        end *= 2;
    }
    let known = end / 2;
    known + items[known..end.min(items.len())].partition_point(has)
}
