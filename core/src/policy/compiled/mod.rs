//! Tables that follow the objects, change by change.

mod compile;
mod export;
mod holders;
mod identities;
mod ids;
mod index;
mod interned;
mod journal;
mod lookup;
mod objects;
mod partition;
mod policies;
mod policy_changes;
mod reach;
mod regroup;
mod row_map;
mod rows;
mod segments;
mod sorted_map;
mod state;
mod tally;
mod traits;
mod view;

pub use export::Difference;
pub use reach::Reach;
pub use state::PolicyEngine;
