//! The runs of one node: which slots have the same value or the same child.

use std::ops::Range;

use super::super::bits::Entry;
use super::{LEVELS, Ref, slot};

/// What the slots of a run have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Value(u32),
    Child(Ref),
}

/// The slots from one on, up to the next run. A child's run is one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub start: u32,
    pub target: Target,
}

/// Ascending; neighbours of the same value are joined.
pub(super) type Runs = Vec<Run>;

pub(super) fn push(runs: &mut Runs, start: u32, target: Target) {
    let same = |last: &Run| matches!(target, Target::Value(_)) && last.target == target;
    if !runs.last().is_some_and(same) {
        runs.push(Run { start, target });
    }
}

/// Runs with others in the place of some of all slots.
pub(super) fn replaced(runs: &[Run], slots: Range<u32>, all: u32, new: &[Run]) -> Runs {
    let (before, rest) = runs.split_at(runs.partition_point(|run| run.start < slots.start));
    let (covered, after) = rest.split_at(rest.partition_point(|run| run.start < slots.end));
    let mut result = Runs::with_capacity(before.len() + new.len() + after.len() + 1);
    result.extend_from_slice(before);
    for run in new {
        push(&mut result, run.start, run.target);
    }
    // The run that the last of the slots was in may go on behind them.
    let goes_on = slots.end < all && after.first().is_none_or(|run| run.start > slots.end);
    let last = covered.last().or(before.last()).filter(|_| goes_on);
    for run in last.map(|run| Run { start: slots.end, ..*run }).iter().chain(after) {
        push(&mut result, run.start, run.target);
    }
    result
}

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
        let mut state = Walk { at: self.slots.start, own: self.own, outer: Vec::new() };
        let mut rest = self.entries;
        while let Some(first) = rest.first() {
            let here = slot(self.level, first.key.bits);
            state.go_to(here, runs);
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
        state.go_to(self.slots.end, runs);
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

/// A walk over the slots of a node.
struct Walk {
    /// Slots before this one are done.
    at: u32,
    /// The value of the innermost prefix around it.
    own: u32,
    /// Where that one ends and the value around it, the innermost last.
    outer: Vec<(u32, u32)>,
}

impl Walk {
    fn enter(&mut self, end: u32, value: u32) {
        self.outer.push((end, self.own));
        self.own = value;
    }

    fn go_to(&mut self, slot: u32, runs: &mut Runs) {
        while let Some(&(end, value)) = self.outer.last() {
            if end > slot {
                break;
            }
            self.fill(end, runs);
            self.own = value;
            self.outer.pop();
        }
        self.fill(slot, runs);
    }

    fn fill(&mut self, end: u32, runs: &mut Runs) {
        if self.at < end {
            push(runs, self.at, Target::Value(self.own));
            self.at = end;
        }
    }
}
