//! The newest version of a table, for readers that never wait.
//!
//! With the feature `shuttle` it is a model of that, and readers and the writer take turns wherever
//! [`step`] is called: what they do in between is what they do in between for one another.

#[cfg(feature = "shuttle")]
pub(super) use model::{Published, step};
#[cfg(not(feature = "shuttle"))]
pub(super) use real::{Published, step};

#[cfg(not(feature = "shuttle"))]
mod real {
    pub use arc_swap::ArcSwap as Published;

    /// Nothing: threads take turns whenever the machine wishes.
    #[inline(always)]
    pub fn step() {}
}

#[cfg(feature = "shuttle")]
mod model {
    use std::sync::Arc;

    use shuttle::sync::Mutex;

    /// What `ArcSwap` promises: who loads has that version from then on, and a swap returns the one
    /// before, which has as many owners as have loaded it and not let go of it.
    #[derive(Debug)]
    pub struct Published<T>(Mutex<Arc<T>>);

    impl<T> Published<T> {
        pub fn from_pointee(first: T) -> Self {
            Self(Mutex::new(Arc::new(first)))
        }

        pub fn load(&self) -> Arc<T> {
            self.load_full()
        }

        pub fn load_full(&self) -> Arc<T> {
            self.0.lock().expect("nobody panics with it").clone()
        }

        pub fn swap(&self, next: Arc<T>) -> Arc<T> {
            std::mem::replace(&mut *self.0.lock().expect("nobody panics with it"), next)
        }
    }

    /// Another thread may go on here.
    pub fn step() {
        shuttle::thread::yield_now();
    }
}
