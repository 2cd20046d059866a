//! All addresses of both families, cut where a block begins or ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::policy::block;

/// Small number of a segment.
pub type SegmentId = u32;

/// Segments by their first address; each ends where the next one begins.
#[derive(Debug, Clone)]
pub struct Segments {
    v4: Vec<(u32, SegmentId)>,
    v6: Vec<(u128, SegmentId)>,
    next: SegmentId,
    free: Vec<SegmentId>,
}

impl Default for Segments {
    /// One for each family: [`Segments::WHOLE`].
    fn default() -> Self {
        let [v4, v6] = Self::WHOLE;
        Self { v4: vec![(0, v4)], v6: vec![(0, v6)], next: 2, free: Vec::new() }
    }
}

impl Segments {
    /// The segments that are there from the start.
    pub const WHOLE: [SegmentId; 2] = [0, 1];

    /// The segment that has an address.
    pub fn at(&self, address: IpAddr) -> SegmentId {
        match address {
            IpAddr::V4(v4) => last_until(&self.v4, v4.to_bits()),
            IpAddr::V6(v6) => last_until(&self.v6, v6.to_bits()),
        }
    }

    /// The segments that begin in a range.
    pub fn beginning_in(&self, first: IpAddr, last: IpAddr) -> Vec<SegmentId> {
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                begin_in(&self.v4, first.to_bits(), last.to_bits())
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                begin_in(&self.v6, first.to_bits(), last.to_bits())
            }
            _ => Vec::new(),
        }
    }

    /// Cut where ranges begin and end; return (new segment, the one that it was part of).
    pub fn cut(&mut self, ranges: &[(IpAddr, IpAddr)]) -> Vec<(SegmentId, SegmentId)> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for &(first, last) in ranges {
            for start in [Some(first), block::next(last)].into_iter().flatten() {
                match start {
                    IpAddr::V4(start) => v4.push(start.to_bits()),
                    IpAddr::V6(start) => v6.push(start.to_bits()),
                }
            }
        }
        let (next, free) = (&mut self.next, &mut self.free);
        let mut number = || {
            free.pop().unwrap_or_else(|| {
                *next += 1;
                *next - 1
            })
        };
        let mut made = insert(&mut self.v4, v4, &mut number);
        made.extend(insert(&mut self.v6, v6, &mut number));
        made
    }

    /// Join neighbours that are the same; return the segments that are no more.
    pub fn join(&mut self, same: impl Fn(SegmentId, SegmentId) -> bool) -> Vec<SegmentId> {
        let mut gone = Vec::new();
        dedup(&mut self.v4, &same, &mut gone);
        dedup(&mut self.v6, &same, &mut gone);
        self.free.extend(&gone);
        gone
    }

    /// (first address, last address, segment), ascending.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, IpAddr, SegmentId)> {
        let v4 = self.v4.iter().enumerate().map(|(at, &(first, segment))| {
            let last = self.v4.get(at + 1).map_or(u32::MAX, |next| next.0 - 1);
            (Ipv4Addr::from_bits(first).into(), Ipv4Addr::from_bits(last).into(), segment)
        });
        let v6 = self.v6.iter().enumerate().map(|(at, &(first, segment))| {
            let last = self.v6.get(at + 1).map_or(u128::MAX, |next| next.0 - 1);
            (Ipv6Addr::from_bits(first).into(), Ipv6Addr::from_bits(last).into(), segment)
        });
        v4.chain(v6)
    }
}

fn last_until<T: Ord>(starts: &[(T, SegmentId)], at: T) -> SegmentId {
    // The first segment of a family begins with its first address.
    starts[starts.partition_point(|(start, _)| *start <= at) - 1].1
}

fn begin_in<T: Ord>(starts: &[(T, SegmentId)], first: T, last: T) -> Vec<SegmentId> {
    let from = starts.partition_point(|(start, _)| *start < first);
    let until = starts.partition_point(|(start, _)| *start <= last);
    starts[from..until].iter().map(|(_, segment)| *segment).collect()
}

fn insert<T: Ord + Copy>(
    starts: &mut Vec<(T, SegmentId)>,
    mut new: Vec<T>,
    number: &mut impl FnMut() -> SegmentId,
) -> Vec<(SegmentId, SegmentId)> {
    new.sort_unstable();
    new.dedup();
    new.retain(|start| starts.binary_search_by(|(have, _)| have.cmp(start)).is_err());
    let made: Vec<_> = new
        .into_iter()
        .map(|start| {
            let of = last_until(starts, start);
            (start, number(), of)
        })
        .collect();
    starts.extend(made.iter().map(|&(start, segment, _)| (start, segment)));
    starts.sort_unstable();
    made.into_iter().map(|(_, segment, of)| (segment, of)).collect()
}

fn dedup<T>(
    starts: &mut Vec<(T, SegmentId)>,
    same: impl Fn(SegmentId, SegmentId) -> bool,
    gone: &mut Vec<SegmentId>,
) {
    starts.dedup_by(|later, earlier| {
        let joined = same(earlier.1, later.1);
        if joined {
            gone.push(later.1);
        }
        joined
    });
}
