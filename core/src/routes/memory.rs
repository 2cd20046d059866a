//! A block of words that start as 0, in huge pages where it is large.

use std::ops::Deref;
use std::sync::atomic::AtomicU32;

/// Words that all threads may read and write.
#[derive(Debug)]
pub(super) enum Memory {
    Small(Box<[AtomicU32]>),
    #[cfg(all(target_os = "linux", not(miri)))]
    Large(mapped::Mapped),
}

impl Memory {
    /// So many words of 0.
    pub fn new(length: usize) -> Self {
        #[cfg(all(target_os = "linux", not(miri)))]
        if let Some(mapped) = mapped::Mapped::new(length) {
            return Self::Large(mapped);
        }
        Self::Small(std::iter::repeat_with(AtomicU32::default).take(length).collect())
    }
}

impl Deref for Memory {
    type Target = [AtomicU32];

    #[inline(always)]
    fn deref(&self) -> &[AtomicU32] {
        match self {
            Self::Small(words) => words,
            #[cfg(all(target_os = "linux", not(miri)))]
            Self::Large(mapped) => mapped,
        }
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
mod mapped {
    // Only by its own mapping can a block be aligned to huge pages before it is touched.
    #![allow(unsafe_code)]

    use std::ffi::c_void;
    use std::num::NonZeroUsize;
    use std::ops::Deref;
    use std::ptr::NonNull;
    use std::sync::atomic::AtomicU32;

    use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

    /// Bytes of a huge page (x86-64, and aarch64 with pages of 4 KiB).
    const HUGE: usize = 2 << 20;

    /// Words in a mapping of their own, from the start of a huge page on.
    #[derive(Debug)]
    pub struct Mapped {
        mapping: NonNull<c_void>,
        mapping_bytes: usize,
        words: NonNull<AtomicU32>,
        length: usize,
    }

    // SAFETY: it owns its memory, which is only reached as words that threads may share.
    unsafe impl Send for Mapped {}
    // SAFETY: as above.
    unsafe impl Sync for Mapped {}

    impl Mapped {
        /// `None` if it is too small for that, or cannot be had.
        pub fn new(length: usize) -> Option<Self> {
            let bytes = length * size_of::<AtomicU32>();
            if bytes < HUGE {
                return None;
            }
            // Whole huge pages, from the first one on: what is before them is never touched.
            let mapping_bytes = bytes.next_multiple_of(HUGE) + HUGE;
            let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            // SAFETY: a new mapping, at no address that is in use.
            let mapping = unsafe {
                mmap_anonymous(
                    None,
                    NonZeroUsize::new(mapping_bytes)?,
                    rights,
                    MapFlags::MAP_PRIVATE,
                )
            };
            let mapping = mapping.ok()?;
            let before = mapping.cast::<u8>().align_offset(HUGE);
            // SAFETY: `before` is less than the mapping has more than is needed.
            let start = unsafe { mapping.byte_add(before) };
            // SAFETY: advice changes nothing of what the mapping holds. A kernel without huge pages
            // refuses it, which costs speed only.
            let _ =
                unsafe { madvise(start, bytes.next_multiple_of(HUGE), MmapAdvise::MADV_HUGEPAGE) };
            Some(Self { mapping, mapping_bytes, words: start.cast(), length })
        }
    }

    impl Deref for Mapped {
        type Target = [AtomicU32];

        #[inline(always)]
        fn deref(&self) -> &[AtomicU32] {
            // SAFETY: the mapping has so many words from there on, aligned, and zeroed by the kernel;
            // it stays as long as this does.
            unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.length) }
        }
    }

    impl Drop for Mapped {
        fn drop(&mut self) {
            // SAFETY: it was mapped like this, and nobody has a reference into it any more.
            let _ = unsafe { munmap(self.mapping, self.mapping_bytes) };
        }
    }
}
