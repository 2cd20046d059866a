//! Storage in pages that a snapshot shares with its pool until the pool changes them.
//!
//! A page is the pool's own or shared. Taking a snapshot shares all pages, at one small allocation
//! for each that was the pool's own; writing to a shared page copies it, unless nobody else has it
//! any more. Writing to one's own page costs a look at its tag, and no atomic operation.

use std::sync::Arc;

/// A page, if there is one.
#[derive(Debug, Default)]
pub(super) enum Page<T> {
    #[default]
    None,
    Own(Box<T>),
    /// The box makes sharing, and taking back what nobody else has, cheap: pages are not copied.
    #[allow(clippy::redundant_allocation)]
    Shared(Arc<Box<T>>),
}

impl<T: Clone> Page<T> {
    #[inline]
    pub fn get(&self) -> Option<&T> {
        match self {
            Self::Own(page) => Some(page),
            Self::None => None,
            Self::Shared(page) => Some(page),
        }
    }

    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut T> {
        if !matches!(self, Self::Own(_)) {
            return self.unshared();
        }
        match self {
            Self::Own(page) => Some(page),
            Self::None | Self::Shared(_) => None,
        }
    }

    #[cold]
    #[inline(never)]
    fn unshared(&mut self) -> Option<&mut T> {
        *self = std::mem::take(self).into_own().map_or(Self::None, Self::Own);
        match self {
            Self::Own(page) => Some(page),
            Self::None | Self::Shared(_) => None,
        }
    }

    /// What is in it, copied if others have it, too.
    pub fn into_own(self) -> Option<Box<T>> {
        match self {
            Self::None => None,
            Self::Own(page) => Some(page),
            Self::Shared(page) => Some(Arc::unwrap_or_clone(page)),
        }
    }

    /// Another handle of the same page.
    pub fn share(&mut self) -> Self {
        *self = match std::mem::take(self) {
            Self::Own(page) => Self::Shared(Arc::new(page)),
            other => other,
        };
        match self {
            Self::Shared(page) => Self::Shared(Arc::clone(page)),
            _ => Self::None,
        }
    }

    /// Whether both are the same, without a look at what they hold.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Shared(a), Self::Shared(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}
