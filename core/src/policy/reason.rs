//! What decided: rules of policies, policies that isolate, and what holds without any policy.

use std::fmt;
use std::sync::Arc;

use super::model::{Action, Direction, Key, Policy, Rule, Tier};

/// Small number of a [`Reason`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReasonId(pub u32);

impl ReasonId {
    /// No policy decided.
    pub const DEFAULT: Self = Self(0);
    /// Traffic between a pod and its own node.
    pub const OWN_NODE: Self = Self(1);
    /// Traffic of a pod with itself.
    pub const ITSELF: Self = Self(2);
}

/// What decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs)]
pub enum Reason {
    #[default]
    Default,
    OwnNode,
    Itself,
    Policy(PolicyReason),
}

/// A rule of a policy, or that a policy isolates.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PolicyReason {
    /// The policy.
    pub policy: Key,
    /// Its `metadata.uid`.
    pub uid: Option<Arc<str>>,
    /// Its tier.
    pub tier: Tier,
    /// Whether it is only audited.
    pub audit: bool,
    /// For which direction.
    pub direction: Direction,
    /// What is done.
    pub allow: bool,
    /// The rule's place in its list; `None`: no rule allows what is isolated.
    pub rule: Option<u32>,
    /// The rule's own name.
    pub rule_name: Option<Arc<str>>,
}

impl PolicyReason {
    /// What a rule, with its place, or the isolation of a policy is known as.
    #[must_use]
    pub fn of(policy: &Policy, direction: Direction, rule: Option<(usize, &Rule)>) -> Reason {
        Reason::Policy(Self {
            policy: policy.key.clone(),
            uid: policy.uid.clone(),
            tier: policy.tier,
            audit: policy.audit,
            direction,
            allow: rule.is_some_and(|(_, rule)| rule.action == Action::Accept),
            rule: rule.map(|(index, _)| u32::try_from(index).unwrap_or(u32::MAX)),
            rule_name: rule.and_then(|(_, rule)| rule.name.clone()),
        })
    }
}

impl Reason {
    /// The reasons that are always there, at their ids.
    pub const BUILT_IN: [Self; 3] = [Self::Default, Self::OwnNode, Self::Itself];

    /// Whether it allows.
    #[must_use]
    pub fn allow(&self) -> bool {
        self.policy().is_none_or(|policy| policy.allow)
    }

    /// What it says of a policy, if it is one that decided.
    #[must_use]
    pub fn policy(&self) -> Option<&PolicyReason> {
        match self {
            Self::Policy(policy) => Some(policy),
            Self::Default | Self::OwnNode | Self::Itself => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("no policy decides: allowed by default"),
            Self::OwnNode => f.write_str("a pod and its own node always reach each other"),
            Self::Itself => f.write_str("a pod always reaches itself"),
            Self::Policy(reason) => reason.fmt(f),
        }
    }
}

impl fmt::Display for PolicyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = self.direction.as_str();
        write!(f, "{} {direction}", self.policy)?;
        match (self.rule, &self.rule_name) {
            (None, _) => write!(f, " isolation"),
            (Some(rule), None) => write!(f, " rule {rule}"),
            (Some(rule), Some(name)) => write!(f, " rule {rule} ({name})"),
        }
    }
}
