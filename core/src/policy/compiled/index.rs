//! Which of many pod selectors may match a pod.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::policy::model::{NamespaceMatch, PodPeer};
use crate::policy::selector::{Labels, Selector, Test};

type Label = (Arc<str>, Arc<str>);

/// Numbers of pod selectors, each where one of its requirements leads to it.
#[derive(Debug, Clone, Default)]
pub struct PeerIndex {
    by_namespace: HashMap<Arc<str>, Vec<u32>>,
    by_pod_label: HashMap<Label, Vec<u32>>,
    by_namespace_label: HashMap<Label, Vec<u32>>,
    others: Vec<u32>,
}

/// The requirement that a selector is filed by: the one that is thought to match least.
enum Anchor<'a> {
    Namespace(&'a Arc<str>),
    PodLabel(&'a Arc<str>, &'a [Arc<str>]),
    NamespaceLabel(&'a Arc<str>, &'a [Arc<str>]),
    Nothing,
}

fn anchor(peer: &PodPeer) -> Anchor<'_> {
    let of_namespace = match &peer.namespace {
        NamespaceMatch::Name(name) => return Anchor::Namespace(name),
        NamespaceMatch::Labels(selector) => values(selector),
    };
    match (values(&peer.pods), of_namespace) {
        (Some((key, values)), _) => Anchor::PodLabel(key, values),
        (None, Some((key, values))) => Anchor::NamespaceLabel(key, values),
        (None, None) => Anchor::Nothing,
    }
}

/// A key that must have one of some values.
fn values(selector: &Selector) -> Option<(&Arc<str>, &[Arc<str>])> {
    selector.requirements().iter().find_map(|one| match &one.test {
        Test::In(values) => Some((&one.key, values.as_slice())),
        Test::NotIn(_) | Test::Exists | Test::DoesNotExist => None,
    })
}

impl PeerIndex {
    /// File a number under its selector.
    pub fn insert(&mut self, peer: &PodPeer, id: u32) {
        let under = |map: &mut HashMap<Label, Vec<u32>>, key: &Arc<str>, values: &[Arc<str>]| {
            for value in values {
                map.entry((key.clone(), value.clone())).or_default().push(id);
            }
        };
        match anchor(peer) {
            Anchor::Namespace(name) => self.by_namespace.entry(name.clone()).or_default().push(id),
            Anchor::PodLabel(key, values) => under(&mut self.by_pod_label, key, values),
            Anchor::NamespaceLabel(key, values) => under(&mut self.by_namespace_label, key, values),
            Anchor::Nothing => self.others.push(id),
        }
    }

    /// Take a number out that was filed under this selector.
    pub fn remove(&mut self, peer: &PodPeer, id: u32) {
        let under = |map: &mut HashMap<Label, Vec<u32>>, key: &Arc<str>, values: &[Arc<str>]| {
            for value in values {
                take(map, &(key.clone(), value.clone()), id);
            }
        };
        match anchor(peer) {
            Anchor::Namespace(name) => take(&mut self.by_namespace, name, id),
            Anchor::PodLabel(key, values) => under(&mut self.by_pod_label, key, values),
            Anchor::NamespaceLabel(key, values) => under(&mut self.by_namespace_label, key, values),
            Anchor::Nothing => self.others.retain(|one| *one != id),
        }
    }

    /// Numbers of all selectors that may match a pod, each once.
    pub fn candidates<'a>(
        &'a self,
        namespace: &Arc<str>,
        namespace_labels: &'a Labels,
        pod_labels: &'a Labels,
    ) -> impl Iterator<Item = u32> + 'a {
        // A selector is under several values of one key, of which a pod has one.
        let under = |map: &'a HashMap<Label, Vec<u32>>, labels: &'a Labels| {
            labels.iter().filter_map(|label| map.get(label)).flatten()
        };
        let by_name = self.by_namespace.get(namespace).into_iter().flatten();
        by_name
            .chain(under(&self.by_pod_label, pod_labels))
            .chain(under(&self.by_namespace_label, namespace_labels))
            .chain(&self.others)
            .copied()
    }
}

fn take<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Vec<u32>>, key: &K, id: u32) {
    if let Some(ids) = map.get_mut(key) {
        ids.retain(|one| *one != id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}
