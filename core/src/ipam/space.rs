//! The addresses of a pool as consecutive numbers: its ranges one after the other, without what is excluded.

use std::fmt;
use std::net::IpAddr;

use super::Index;
use super::error::{Error, Result};

/// Addresses from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// The lowest address.
    pub first: IpAddr,
    /// The highest address.
    pub last: IpAddr,
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// An interval as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub first: u128,
    pub last: u128,
}

/// A span of addresses and the index of its first one.
#[derive(Debug, Clone, Copy)]
struct Segment {
    span: Span,
    start: Index,
}

#[derive(Debug, Clone)]
pub(super) struct Space {
    v6: bool,
    ranges: Vec<Interval>,
    /// In the order of the ranges, so `start` grows.
    segments: Vec<Segment>,
    /// The same, but `span.first` grows.
    by_address: Vec<Segment>,
    /// Sorted, disjoint.
    excluded: Vec<Span>,
    capacity: u128,
    /// Of an IPv4 pool with one segment, first and last address.
    only: Option<(u32, u32)>,
}

pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

const LOW: u128 = u32::MAX as u128;

/// The number of an IPv4 address.
#[inline]
fn low(n: u128) -> u32 {
    (n & LOW) as u32
}

impl Space {
    pub fn new(ranges: &[Interval], exclude: &[Interval]) -> Result<Self> {
        let v6 = ranges.first().ok_or(Error::NoRange)?.first.is_ipv6();
        let spans = ranges.iter().map(|range| span(range, v6)).collect::<Result<Vec<_>>>()?;
        refuse_overlap(ranges, &spans)?;
        let excluded = exclude.iter().map(|range| span(range, v6)).collect::<Result<Vec<_>>>()?;
        let excluded = merged(excluded);
        let (mut segments, mut capacity) = (Vec::new(), 0u128);
        for span in spans.iter().flat_map(|span| without(*span, &excluded)) {
            segments.push(Segment { span, start: capacity });
            let more = (span.last - span.first).checked_add(1).ok_or(Error::TooLarge)?;
            capacity = capacity.checked_add(more).ok_or(Error::TooLarge)?;
        }
        let mut by_address = segments.clone();
        by_address.sort_unstable_by_key(|segment| segment.span.first);
        let only = match &segments[..] {
            [Segment { span, .. }] if !v6 => Some((low(span.first), low(span.last))),
            _ => None,
        };
        let ranges = ranges.to_vec();
        Ok(Self { v6, ranges, segments, by_address, excluded, capacity, only })
    }

    pub fn ranges(&self) -> &[Interval] {
        &self.ranges
    }

    /// What is left out, sorted and disjoint, whether it would be in a range or not.
    pub fn excluded(&self) -> impl Iterator<Item = Interval> {
        self.excluded.iter().map(|span| Interval {
            first: self.of_number(span.first),
            last: self.of_number(span.last),
        })
    }

    /// Whether an index means the same in both.
    pub fn is_like(&self, other: &Self) -> bool {
        self.ranges == other.ranges && self.excluded == other.excluded
    }

    pub fn family(&self) -> u8 {
        if self.v6 { 6 } else { 4 }
    }

    pub fn capacity(&self) -> u128 {
        self.capacity
    }

    /// The index of an address of the pool.
    #[inline]
    pub fn index(&self, address: IpAddr) -> Result<Index> {
        match (self.only, address) {
            (Some((first, last)), IpAddr::V4(v4)) if (first..=last).contains(&v4.to_bits()) => {
                Ok((v4.to_bits() - first).into())
            }
            _ => self.search(address),
        }
    }

    fn search(&self, address: IpAddr) -> Result<Index> {
        if address.is_ipv6() != self.v6 {
            return Err(Error::OutOfRange(address));
        }
        let n = number(address);
        let after = self.by_address.partition_point(|segment| segment.span.first <= n);
        let segment = after.checked_sub(1).map(|at| self.by_address[at]);
        match segment.filter(|segment| n <= segment.span.last) {
            Some(segment) => Ok(segment.start + (n - segment.span.first)),
            None if self.is_excluded(n) => Err(Error::Reserved(address)),
            None => Err(Error::OutOfRange(address)),
        }
    }

    /// The address at an index below the capacity.
    #[inline]
    pub fn address(&self, index: Index) -> IpAddr {
        match self.only {
            Some((first, _)) => IpAddr::V4((first + low(index)).into()),
            None => self.nth(index),
        }
    }

    fn nth(&self, index: Index) -> IpAddr {
        let after = self.segments.partition_point(|segment| segment.start <= index);
        let segment = self.segments[after - 1];
        let n = segment.span.first + (index - segment.start);
        self.of_number(n)
    }

    fn of_number(&self, n: u128) -> IpAddr {
        if self.v6 { IpAddr::V6(n.into()) } else { IpAddr::V4(low(n).into()) }
    }

    fn is_excluded(&self, n: u128) -> bool {
        let after = self.excluded.partition_point(|span| span.first <= n);
        after.checked_sub(1).is_some_and(|at| n <= self.excluded[at].last)
    }
}

pub(super) fn span(range: &Interval, v6: bool) -> Result<Span> {
    if range.first.is_ipv6() != v6 || range.last.is_ipv6() != v6 {
        return Err(Error::MixedFamilies(*range));
    }
    let span = Span { first: number(range.first), last: number(range.last) };
    if span.last < span.first { Err(Error::Reversed(*range)) } else { Ok(span) }
}

fn refuse_overlap(ranges: &[Interval], spans: &[Span]) -> Result<()> {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_unstable_by_key(|at| spans[*at].first);
    for pair in order.windows(2) {
        if spans[pair[1]].first <= spans[pair[0]].last {
            return Err(Error::Overlap(ranges[pair[0]], ranges[pair[1]]));
        }
    }
    Ok(())
}

/// The same numbers in sorted spans that do not touch each other.
pub(super) fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable_by_key(|span| span.first);
    let mut out: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match out.last_mut() {
            Some(last) if span.first <= last.last.saturating_add(1) => {
                last.last = last.last.max(span.last);
            }
            _ => out.push(span),
        }
    }
    out
}

/// What is left of a span.
fn without(span: Span, excluded: &[Span]) -> Vec<Span> {
    let (mut left, mut first) = (Vec::new(), span.first);
    for hole in excluded.iter().filter(|hole| hole.first <= span.last && hole.last >= span.first) {
        if hole.first > first {
            left.push(Span { first, last: hole.first - 1 });
        }
        if hole.last >= span.last {
            return left;
        }
        first = hole.last + 1;
    }
    left.push(Span { first, last: span.last });
    left
}
