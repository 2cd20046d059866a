//! Labels and label selectors.
//!
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Labels, sorted by key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// Labels of pairs in any order; of equal keys the last counts.
    #[must_use]
    pub fn new(mut pairs: Vec<(Arc<str>, Arc<str>)>) -> Self {
        pairs.reverse();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, first| later.0 == first.0);
        Self(pairs.into())
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(have, _)| (**have).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    /// All pairs, by key.
    pub fn iter(&self) -> impl Iterator<Item = &(Arc<str>, Arc<str>)> {
        self.0.iter()
    }
}

/// All of its requirements have to be met; without any, it selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Selector(Arc<[Requirement]>);

/// What one key has to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Requirement {
    /// The key.
    pub key: Arc<str>,
    /// What is said about its value.
    pub test: Test,
}

/// What a selector can say about a label. Values are sorted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Test {
    /// There, with one of the values.
    In(Vec<Arc<str>>),
    /// Not there, or with none of the values.
    NotIn(Vec<Arc<str>>),
    /// There.
    Exists,
    /// Not there.
    DoesNotExist,
}

impl Selector {
    /// A selector of requirements; equal sets of them make equal selectors.
    #[must_use]
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        for one in &mut requirements {
            if let Test::In(values) | Test::NotIn(values) = &mut one.test {
                values.sort();
                values.dedup();
            }
        }
        requirements.sort();
        requirements.dedup();
        Self(requirements.into())
    }

    /// Whether all requirements are met.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|one| one.is_met_by(labels.get(&one.key)))
    }

    /// The requirements, sorted.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }
}

impl Requirement {
    fn is_met_by(&self, value: Option<&str>) -> bool {
        let listed = |values: &[Arc<str>]| {
            value.is_some_and(|value| values.iter().any(|one| **one == *value))
        };
        match &self.test {
            Test::In(values) => listed(values),
            Test::NotIn(values) => !listed(values),
            Test::Exists => value.is_some(),
            Test::DoesNotExist => value.is_none(),
        }
    }
}
