//! The tables, and what is different since an earlier version.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::holders::{Endpoint, NONE};
use super::journal::{Entry, NodeName};
use super::partition::NOTHING;
use super::state::PolicyEngine;
use crate::policy::error::{Error, Result};
use crate::policy::filter::Filter;
use crate::policy::reason::{Reason, ReasonId};
use crate::policy::tables::{
    AddressRange, Changes, Delta, FilterId, PeerClass, RowKey, SubjectClass, Tables, Way,
    reasons_of,
};

type Node<'a> = Option<&'a Arc<str>>;

impl PolicyEngine {
    /// Counts the changes.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.journal.clock().version - 1
    }

    /// The reason of an id.
    #[must_use]
    pub fn reason(&self, id: ReasonId) -> Option<&Arc<Reason>> {
        self.reasons.get(id.0)
    }

    /// The compiled tables, of all pods or of those on a node.
    #[must_use]
    pub fn tables(&self, node: Option<&Arc<str>>) -> Tables {
        let endpoints = self.holders.endpoints();
        let listed =
            endpoints.filter_map(|(id, it)| Some((it.address, self.tally(id)?.endpoint()?)));
        let subjects = self.holders.endpoints();
        let subjects =
            subjects.filter_map(|(_, it)| Some((it.address, self.subject_at(it, node)?)));
        let rows: BTreeMap<_, _> =
            self.subjects_on(node).into_iter().flat_map(|subject| self.rows_of(subject)).collect();
        let used: BTreeSet<_> = rows.values().copied().collect();
        let filters: BTreeMap<_, _> =
            used.into_iter().map(|id| (id, self.filters.value(id).clone())).collect();
        let reasons = filters.values().flat_map(reasons_of);
        Tables {
            version: self.version(),
            node: node.cloned(),
            endpoints: listed.collect(),
            blocks: self.blocks.clone(),
            subjects: subjects.collect(),
            rows,
            reasons: reasons.map(|id| (id, self.reasons.value(id.0).clone())).collect(),
            filters,
        }
    }

    /// The subject class of an endpoint, if it is on the node.
    fn subject_at(&self, endpoint: &Endpoint, node: Node<'_>) -> Option<SubjectClass> {
        let subject = self.subject(endpoint.state.identity);
        let here = node.is_none_or(|node| self.is_named(endpoint.state.node, node));
        (here && subject != NOTHING).then_some(subject)
    }

    fn is_named(&self, node: u32, name: &str) -> bool {
        node != NONE && *self.holders.node(node).name == *name
    }

    /// The subject classes that pods of the node have.
    fn subjects_on(&self, node: Node<'_>) -> BTreeSet<SubjectClass> {
        match node {
            None => self.subjects.classes().filter(|class| *class != NOTHING).collect(),
            Some(name) => {
                let id = self.holders.find_node(name);
                let here = self.placements.keys().filter(|(node, _)| Some(*node) == id);
                here.map(|(_, subject)| *subject).collect()
            }
        }
    }

    /// The rows of a subject class.
    fn rows_of(&self, subject: SubjectClass) -> Vec<(RowKey, FilterId)> {
        let Some(rows) = self.rows.get(subject as usize) else { return Vec::new() };
        let mut all = Vec::new();
        for (way, side) in [Way::Ingress, Way::Egress].into_iter().zip(&rows.sides) {
            let Some(side) = side else { continue };
            all.push(((subject, way, None), side.default));
            all.extend(side.rows.iter().map(|(peer, id)| ((subject, way, Some(peer)), id)));
        }
        let exempt = rows.exempt.iter();
        all.extend(exempt.map(|((way, peer), id)| ((subject, way, Some(peer)), id)));
        all
    }

    /// The filter of a row.
    fn row(&self, (subject, way, peer): RowKey) -> Option<FilterId> {
        let rows = self.rows.get(subject as usize)?;
        let direction = match way {
            Way::Ingress => 0,
            Way::Egress => 1,
            _ => return rows.exempt.get((way, peer?)),
        };
        let side = rows.sides[direction].as_deref()?;
        match peer {
            None => Some(side.default),
            Some(peer) => side.rows.get(peer),
        }
    }

    /// What is different since a version.
    ///
    /// # Errors
    /// [`Error::HistoryLost`] if it is too old.
    pub fn changes_since(&self, since: u64, node: Option<&Arc<str>>) -> Result<Changes> {
        let (version, oldest) = (self.version(), self.journal.clock().oldest);
        if !(oldest..=version).contains(&since) {
            return Err(Error::HistoryLost { since, oldest, version });
        }
        let before = Before::read(self.journal.since(since), node);
        let mut changes = Changes { since, version, node: node.cloned(), ..Changes::default() };
        for (address, old) in before.endpoints {
            let id = self.holders.find(address);
            let now = id.and_then(|id| self.tally(id)).and_then(|tally| tally.endpoint());
            differ(&mut changes.endpoints, address, old, now);
        }
        for (address, old) in before.subjects {
            let endpoint = self.holders.find(address).map(|id| self.holders.endpoint(id));
            let now = endpoint.and_then(|endpoint| self.subject_at(endpoint, node));
            differ(&mut changes.subjects, address, old, now);
        }
        for (range, old) in before.blocks {
            differ(&mut changes.blocks, range, old, self.blocks.get(&range).copied());
        }
        self.row_changes(&mut changes, &before.was, node);
        Ok(changes)
    }

    fn row_changes(&self, changes: &mut Changes, was: &Was, node: Node<'_>) {
        let now = self.subjects_on(node);
        let before: BTreeSet<_> = match node {
            // Of all pods: what is no more had rows, and what is new had none.
            None => now.clone(),
            Some(_) => {
                let gone = was.placements.iter().filter(|(_, there)| **there).map(|(id, _)| *id);
                let new = |id: &&SubjectClass| was.placements.get(*id) != Some(&false);
                now.iter().filter(new).copied().chain(gone).collect()
            }
        };
        let of_all = node.is_none();
        for (&key, old) in &was.rows {
            let old = old.filter(|_| of_all || before.contains(&key.0));
            let now = self.row(key).filter(|_| of_all || now.contains(&key.0));
            differ(&mut changes.rows, key, old, now);
        }
        for subject in now.symmetric_difference(&before) {
            let new = now.contains(subject);
            for (key, filter) in self.rows_of(*subject) {
                if !was.rows.contains_key(&key) {
                    changes.rows.insert(key, new.then_some(filter));
                }
            }
        }
        if !changes.rows.is_empty() {
            self.filter_changes(changes, was, &now, &before);
        }
    }

    /// The filters, and the reasons, that rows name now and named before.
    fn filter_changes(
        &self,
        changes: &mut Changes,
        was: &Was,
        now: &BTreeSet<SubjectClass>,
        before: &BTreeSet<SubjectClass>,
    ) {
        let all = |subjects: &BTreeSet<SubjectClass>| -> BTreeMap<RowKey, FilterId> {
            subjects.iter().flat_map(|subject| self.rows_of(*subject)).collect()
        };
        let rows_now = all(now);
        let mut rows_before = all(before);
        for (key, old) in &was.rows {
            let there = changes.node.is_none() || before.contains(&key.0);
            match old.filter(|_| there) {
                Some(old) => rows_before.insert(*key, old),
                None => rows_before.remove(key),
            };
        }
        let used = |rows: BTreeMap<RowKey, FilterId>| rows.into_values().collect::<BTreeSet<_>>();
        let (used_now, used_before) = (used(rows_now), used(rows_before));
        for id in used_now.symmetric_difference(&used_before) {
            let now = used_now.contains(id).then(|| self.filters.value(*id).clone());
            changes.filters.insert(*id, now);
        }
        let reasons = |ids: &BTreeSet<FilterId>| -> BTreeSet<ReasonId> {
            let filter = |id| was.filters.get(id).unwrap_or_else(|| self.filters.value(*id));
            ids.iter().map(filter).flat_map(reasons_of).collect()
        };
        let (now, before) = (reasons(&used_now), reasons(&used_before));
        for id in now.symmetric_difference(&before) {
            let reason = now.contains(id).then(|| self.reasons.value(id.0).clone());
            changes.reasons.insert(*id, reason);
        }
    }
}

fn differ<K: Ord, V: PartialEq>(delta: &mut Delta<K, V>, key: K, old: Option<V>, now: Option<V>) {
    if old != now {
        delta.insert(key, now);
    }
}

/// What changed elements were before.
#[derive(Default)]
struct Before {
    endpoints: BTreeMap<IpAddr, Option<PeerClass>>,
    subjects: BTreeMap<IpAddr, Option<SubjectClass>>,
    blocks: BTreeMap<AddressRange, Option<PeerClass>>,
    was: Was,
}

/// What changed rows were before, whether subject classes were on the node, and filters that are
/// no more.
#[derive(Default)]
struct Was {
    rows: BTreeMap<RowKey, Option<FilterId>>,
    placements: BTreeMap<SubjectClass, bool>,
    filters: BTreeMap<FilterId, Filter>,
}

impl Before {
    fn read<'a>(entries: impl Iterator<Item = &'a Entry>, node: Node<'_>) -> Self {
        let mut before = Self::default();
        // Of several entries for an element the first one has what it was.
        for entry in entries {
            match entry {
                Entry::Endpoint(address, old) => {
                    before.endpoints.entry(*address).or_insert(*old);
                }
                Entry::Block(range, old) => {
                    before.blocks.entry(**range).or_insert(*old);
                }
                Entry::Row(key, old) => {
                    before.was.rows.entry(*key).or_insert(*old);
                }
                Entry::Filter(id, filter) => {
                    before.was.filters.insert(*id, filter.clone());
                }
                Entry::Subject(address, old) => {
                    let here =
                        |of: &&(SubjectClass, NodeName)| node.is_none() || of.1.as_ref() == node;
                    let old = old.as_ref().filter(here).map(|(subject, _)| *subject);
                    before.subjects.entry(*address).or_insert(old);
                }
                Entry::Placement(name, subject, there) => {
                    if node.is_some() && name.as_ref() == node {
                        before.was.placements.entry(*subject).or_insert(*there);
                    }
                }
            }
        }
        before
    }
}
