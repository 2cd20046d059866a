//! Released addresses, the least recently released one first.
//!
//! A queue of notes, which may be out of date: whether a note still counts is for the pool to say,
//! in whose cell for the address the note's place is. Places are numbered from the first note ever,
//! and over again after 2^32.

use std::collections::VecDeque;
use std::iter;

use super::cells::{Id, NUMBERS};
use super::paged::Page;

/// An address was released at some time, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Note {
    pub time: u64,
    pub id: Id,
}

/// Notes of a page.
const PAGE: usize = 64;

type Notes = [Note; PAGE];

/// Notes in pages: the first one, from which they are taken, full ones, and the one being filled.
#[derive(Debug)]
pub(super) struct Queue {
    head: Box<Notes>,
    full: VecDeque<Page<Notes>>,
    tail: Box<Notes>,
    /// Whether the first page is the one being filled; `head` is of no use then.
    one: bool,
    /// The place of the first note.
    first: u32,
    /// The place of the next note to come.
    next: u32,
    /// A page that is used up, to be used again.
    spare: Option<Box<Notes>>,
}

fn empty() -> Box<Notes> {
    Box::new([Note::default(); PAGE])
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            head: empty(),
            full: VecDeque::new(),
            tail: empty(),
            one: true,
            first: 0,
            next: 0,
            spare: None,
        }
    }
}

/// Where in its page a note is.
#[inline]
fn within(place: u32) -> usize {
    place as usize & (PAGE - 1)
}

/// What of a place is kept in a cell: enough, as so many notes are never there at once.
#[inline]
fn in_cell(place: u32) -> u32 {
    place & (NUMBERS - 1)
}

impl Queue {
    #[inline]
    pub fn len(&self) -> usize {
        self.next.wrapping_sub(self.first) as usize
    }

    /// Takes out all notes. Places are not used again.
    pub fn clear(&mut self) {
        self.full.clear();
        (self.one, self.first) = (true, self.next);
    }

    /// Adds a note at the end; returns its place.
    #[inline]
    pub fn push(&mut self, note: Note) -> u32 {
        let place = self.next;
        self.tail[within(place)] = note;
        self.next = self.next.wrapping_add(1);
        if within(self.next) == 0 {
            self.seal();
        }
        in_cell(place)
    }

    /// The last page is full.
    #[cold]
    #[inline(never)]
    fn seal(&mut self) {
        let room = NUMBERS as usize - PAGE;
        assert!(self.len() < room, "a pool remembers 2^30 released addresses, in 16 GiB");
        if self.one {
            std::mem::swap(&mut self.head, &mut self.tail);
            self.one = false;
        } else {
            let tail = self.spare.take().unwrap_or_else(empty);
            self.full.push_back(Page::Own(std::mem::replace(&mut self.tail, tail)));
        }
    }

    /// The first note and its place.
    #[inline]
    pub fn first(&self) -> Option<(u32, Note)> {
        if self.first == self.next {
            return None;
        }
        let page = if self.one { &self.tail } else { &self.head };
        Some((in_cell(self.first), page[within(self.first)]))
    }

    /// Takes out the first note.
    #[inline]
    pub fn pop(&mut self) {
        self.first = self.first.wrapping_add(1);
        if within(self.first) == 0 {
            self.turn();
        }
    }

    /// The first page is used up.
    #[cold]
    #[inline(never)]
    fn turn(&mut self) {
        match self.full.pop_front().and_then(Page::into_own) {
            Some(page) => self.spare = Some(std::mem::replace(&mut self.head, page)),
            None => self.one = true,
        }
    }

    /// All notes with their places, from the first to the last.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Note)> {
        let end = within(self.next);
        let (head, tail) = if self.one {
            (&self.tail[within(self.first)..end], &self.tail[..0])
        } else {
            (&self.head[within(self.first)..], &self.tail[..end])
        };
        let full = self.full.iter().filter_map(Page::get).flatten();
        let notes = head.iter().chain(full).chain(tail);
        let places = iter::successors(Some(self.first), |place| Some(place.wrapping_add(1)));
        notes.zip(places).map(|(note, place)| (in_cell(place), *note))
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        (self.full.len() + 2) * size_of::<Notes>()
    }

    pub fn share(&mut self) -> Self {
        Self {
            head: self.head.clone(),
            full: self.full.iter_mut().map(Page::share).collect(),
            tail: self.tail.clone(),
            spare: None,
            ..*self
        }
    }
}
