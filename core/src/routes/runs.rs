//! Runs: positions side by side that have the same value, or one that has a child.

use smallvec::SmallVec;

/// What the positions of a run have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target<C> {
    Value(u32),
    Child(C),
}

/// The positions from one on, up to the next run. A child's run is one position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<P, C> {
    pub start: P,
    pub target: Target<C>,
}

/// Ascending; neighbours of the same value are joined.
pub(super) type Runs<P, C> = SmallVec<[Run<P, C>; 20]>;

pub(super) fn push<P, C>(runs: &mut Runs<P, C>, start: P, target: Target<C>) {
    if let (Some(Run { target: Target::Value(before), .. }), Target::Value(value)) =
        (runs.last(), &target)
        && before == value
    {
        return;
    }
    runs.push(Run { start, target });
}

/// Runs with others in the place of some positions: of those from `first` on, up to `end` if there
/// are positions from there on.
pub(super) fn replaced<P: Copy + Ord, C: Copy>(
    runs: &[Run<P, C>],
    first: P,
    end: Option<P>,
    new: &[Run<P, C>],
) -> Runs<P, C> {
    let (before, rest) = runs.split_at(runs.partition_point(|run| run.start < first));
    let is_covered = |run: &Run<P, C>| end.is_none_or(|end| run.start < end);
    let (covered, after) = rest.split_at(rest.partition_point(is_covered));
    let mut result = Runs::with_capacity(before.len() + new.len() + after.len() + 1);
    result.extend_from_slice(before);
    // The run that the last of the positions was in may go on behind them.
    let end = end.filter(|end| after.first().is_none_or(|run| run.start > *end));
    let last = covered.last().or(before.last());
    let goes_on = end.zip(last).map(|(start, last)| Run { start, ..*last });
    for run in new.iter().chain(&goes_on).chain(after) {
        push(&mut result, run.start, run.target);
    }
    result
}

/// A walk over positions, into prefixes and out of them.
pub(super) struct Walk<P> {
    /// Positions before this one are done.
    pub at: P,
    /// The value of the innermost prefix around it.
    pub own: u32,
    /// Where that one ends and the value around it, the innermost last.
    outer: Vec<(P, u32)>,
}

impl<P: Copy + Ord> Walk<P> {
    pub fn new(at: P, own: u32) -> Self {
        Self { at, own, outer: Vec::new() }
    }

    /// Goes into a prefix that begins here.
    pub fn enter(&mut self, end: P, value: u32) {
        self.outer.push((end, self.own));
        self.own = value;
    }

    /// Goes on to a position; `fill` gets where each value on the way begins.
    pub fn go_to(&mut self, position: P, mut fill: impl FnMut(P, u32)) {
        while let Some(&(end, value)) = self.outer.last() {
            if end > position {
                break;
            }
            self.fill(end, &mut fill);
            self.own = value;
            self.outer.pop();
        }
        self.fill(position, &mut fill);
    }

    fn fill(&mut self, end: P, fill: &mut impl FnMut(P, u32)) {
        if self.at < end {
            fill(self.at, self.own);
            self.at = end;
        }
    }
}
