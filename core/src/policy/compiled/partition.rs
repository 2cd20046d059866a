//! Elements in classes by a key, with class numbers that change as little as possible.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashMap, HashSet, HashTable};
use smallvec::SmallVec;

use super::ids::{Clock, IdPool, make_room};

/// A class.
pub type Class = u32;
/// An element: a small number that the caller chooses.
pub type Element = u32;

/// The class of all elements with the key that is the default: it is always there.
pub const NOTHING: Class = 0;

const ABSENT: Class = u32::MAX;

/// Elements with equal keys are in one class.
#[derive(Debug, Clone)]
pub struct Partition<K> {
    classes: Vec<Option<Members<K>>>,
    /// Found by the keys of the classes.
    ids: HashTable<Class>,
    hasher: DefaultHashBuilder,
    pool: IdPool,
    /// Element -> (class, place among its members); even and odd elements apart, for where they are
    /// of two kinds there may be few of one.
    places: [Vec<(Class, u32)>; 2],
}

#[derive(Debug, Clone)]
struct Members<K> {
    key: K,
    elements: SmallVec<[Element; 4]>,
}

/// What `rekey` did.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// What happened to classes, once for each: births, other keys, deaths.
    pub events: Vec<Event>,
    /// The elements that are in another class now, and in which they were.
    pub moved: Vec<(Element, Class)>,
}

/// What happened to a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It is new; its first elements were in the other one.
    Born(Class, Class),
    /// It has another key, and all its elements with it.
    Rekeyed(Class),
    /// It has no element any more.
    Died(Class),
}

impl<K: Hash + Eq + Clone + Default> Partition<K> {
    /// No elements.
    pub fn new() -> Self {
        let mut made = Self {
            classes: Vec::new(),
            ids: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            pool: IdPool::default(),
            places: [Vec::new(), Vec::new()],
        };
        let nothing = made.make(K::default(), Clock::default());
        debug_assert_eq!(nothing, NOTHING);
        made
    }

    /// The class of a key, if there is one.
    fn find(&self, key: &K) -> Option<Class> {
        let hash = self.hasher.hash_one(key);
        self.ids.find(hash, |class| self.members(*class).key == *key).copied()
    }

    /// The class of an element, if it is in one.
    pub fn class(&self, element: Element) -> Option<Class> {
        let place = self.places[(element % 2) as usize].get(element as usize / 2)?;
        (place.0 != ABSENT).then_some(place.0)
    }

    /// The key of a class that is there.
    pub fn key(&self, class: Class) -> &K {
        &self.members(class).key
    }

    /// The elements of a class that is there.
    pub fn elements(&self, class: Class) -> &[Element] {
        &self.members(class).elements
    }

    /// Whether there is such a class.
    pub fn has(&self, class: Class) -> bool {
        self.classes.get(class as usize).is_some_and(Option::is_some)
    }

    /// All classes, ascending.
    pub fn classes(&self) -> impl Iterator<Item = Class> {
        (0..).zip(&self.classes).filter_map(|(class, members)| members.as_ref().map(|_| class))
    }

    fn place(&self, element: Element) -> &(Class, u32) {
        &self.places[(element % 2) as usize][element as usize / 2]
    }

    fn place_mut(&mut self, element: Element) -> &mut (Class, u32) {
        &mut self.places[(element % 2) as usize][element as usize / 2]
    }

    fn members(&self, class: Class) -> &Members<K> {
        self.classes[class as usize].as_ref().expect("classes that elements are in are there")
    }

    fn members_mut(&mut self, class: Class) -> &mut Members<K> {
        self.classes[class as usize].as_mut().expect("classes that elements are in are there")
    }

    /// Put in an element that is not in any class; return its class, and whether that is new.
    pub fn insert(&mut self, element: Element, key: K, clock: Clock) -> (Class, bool) {
        debug_assert!(self.class(element).is_none());
        let known = self.find(&key);
        let class = known.unwrap_or_else(|| self.make(key, clock));
        self.attach(element, class);
        (class, known.is_none())
    }

    /// Take an element out; return the class that died of it.
    pub fn remove(&mut self, element: Element, clock: Clock) -> Option<Class> {
        let class = self.detach(element);
        self.bury(class, clock)
    }

    /// Give elements other keys. With `in_place`, a class may get another key and stay; `weight`
    /// tells which of its parts does where it is split.
    pub fn rekey(
        &mut self,
        changes: Vec<(Element, K)>,
        in_place: bool,
        weight: impl Fn(Element) -> usize,
        clock: Clock,
    ) -> Outcome {
        let mut groups: HashMap<(Class, K), Vec<Element>> = HashMap::new();
        for (element, key) in changes {
            let class = self.place(element).0;
            if self.members(class).key != key {
                groups.entry((class, key)).or_default().push(element);
            }
        }
        let mut parts: Vec<_> = groups
            .into_iter()
            .map(|((class, key), elements)| {
                let weight = elements.iter().map(|&one| weight(one)).sum::<usize>();
                (class, key, elements, weight)
            })
            .collect();
        // The order decides numbers, so it must not be that of a hash table: within a class the
        // heaviest part first, of equal ones that with the lowest element.
        parts.sort_by_key(|(class, _, elements, weight)| {
            (*class, usize::MAX - weight, elements.iter().min().copied())
        });
        let mut outcome = Outcome::default();
        let mut before = ABSENT;
        for (class, key, elements, part) in parts {
            let first = class != before;
            before = class;
            // What was done for another class may have moved this one's elements, all together.
            let still = self.place(elements[0]).0 == class;
            let stays = in_place && first && still && class != NOTHING;
            if stays && self.keep(class, &key, &elements, part, &weight, clock, &mut outcome) {
                continue;
            }
            self.leave(key, elements, clock, &mut outcome);
        }
        self.settle(outcome)
    }

    /// Let the class go with a part of it, if that is the larger one.
    #[allow(clippy::too_many_arguments)]
    fn keep(
        &mut self,
        class: Class,
        key: &K,
        elements: &[Element],
        part: usize,
        weight: &impl Fn(Element) -> usize,
        clock: Clock,
        outcome: &mut Outcome,
    ) -> bool {
        let members = &self.members(class).elements;
        let whole = members.len() == elements.len();
        if let Some(other) = self.find(key) {
            let larger = |class: Class| {
                self.members(class).elements.iter().map(|&one| weight(one)).sum::<usize>()
            };
            if !whole || other == NOTHING || larger(other) >= part {
                return false;
            }
            // All of both are one class now: the smaller one moves.
            let moving = self.members(other).elements.clone();
            self.set_key(class, None);
            for element in moving {
                outcome.moved.push((element, self.detach(element)));
                self.attach(element, class);
            }
            outcome.events.extend(self.bury(other, clock).map(Event::Died));
            self.set_key(class, Some(key.clone()));
            outcome.events.push(Event::Rekeyed(class));
            return true;
        }
        if !whole {
            let going: HashSet<_> = elements.iter().copied().collect();
            let rest = members.iter().filter(|one| !going.contains(*one));
            let rest: Vec<_> = rest.copied().collect();
            if rest.iter().map(|&one| weight(one)).sum::<usize>() >= part {
                return false;
            }
            let old = self.members(class).key.clone();
            self.set_key(class, Some(key.clone()));
            self.leave(old, rest, clock, outcome);
        } else {
            self.set_key(class, Some(key.clone()));
        }
        outcome.events.push(Event::Rekeyed(class));
        true
    }

    /// Move elements, which are in one class, to the class of a key.
    fn leave(&mut self, key: K, elements: Vec<Element>, clock: Clock, outcome: &mut Outcome) {
        let from = self.place(elements[0]).0;
        let to = self.find(&key).unwrap_or_else(|| {
            let made = self.make(key, clock);
            outcome.events.push(Event::Born(made, from));
            made
        });
        for element in elements {
            outcome.moved.push((element, self.detach(element)));
            self.attach(element, to);
        }
        outcome.events.extend(self.bury(from, clock).map(Event::Died));
    }

    /// Tell what is different in the end, not all that happened on the way there.
    fn settle(&self, outcome: Outcome) -> Outcome {
        let mut seen = HashSet::new();
        let mut moved = outcome.moved;
        moved.retain(|(element, _)| seen.insert(*element));
        moved.retain(|(element, class)| self.class(*element) != Some(*class));
        let mut from: HashMap<Class, Class> = HashMap::new();
        let mut events = Vec::new();
        for event in &outcome.events {
            if let Event::Born(class, of) = *event {
                // One that came and went meanwhile is nobody that rows could be taken from.
                let of = from.get(&of).copied().unwrap_or(of);
                from.insert(class, of);
                if self.has(class) {
                    events.push(Event::Born(class, of));
                }
            }
        }
        let mut seen: HashSet<Class> = from.into_keys().collect();
        for dead in [false, true] {
            for event in &outcome.events {
                let (Event::Rekeyed(class) | Event::Died(class)) = *event else { continue };
                if self.has(class) != dead && seen.insert(class) {
                    events.push(if dead { Event::Died(class) } else { Event::Rekeyed(class) });
                }
            }
        }
        Outcome { events, moved }
    }

    /// Give back memory that was kept for more.
    pub fn trim(&mut self) {
        self.classes.shrink_to_fit();
        for members in self.classes.iter_mut().flatten() {
            members.elements.shrink_to_fit();
        }
        for places in &mut self.places {
            places.shrink_to_fit();
        }
    }

    fn make(&mut self, key: K, clock: Clock) -> Class {
        let class = self.pool.take(clock);
        if self.classes.len() <= class as usize {
            self.classes.resize_with(class as usize + 1, || None);
        }
        self.classes[class as usize] = Some(Members { key, elements: SmallVec::new() });
        self.file(class);
        class
    }

    /// Let a class be found by its key.
    fn file(&mut self, class: Class) {
        let hash = self.hasher.hash_one(self.key(class));
        let (classes, hasher) = (&self.classes, &self.hasher);
        self.ids.insert_unique(hash, class, |other| {
            let members = classes[*other as usize].as_ref();
            members.map_or(0, |members| hasher.hash_one(&members.key))
        });
    }

    fn set_key(&mut self, class: Class, key: Option<K>) {
        let hash = self.hasher.hash_one(self.key(class));
        if let Ok(entry) = self.ids.find_entry(hash, |other| *other == class) {
            entry.remove();
        }
        if let Some(key) = key {
            self.members_mut(class).key = key;
            self.file(class);
        }
    }

    fn attach(&mut self, element: Element, class: Class) {
        let elements = &mut self.members_mut(class).elements;
        let at = u32::try_from(elements.len()).expect("elements are numbered by u32");
        elements.push(element);
        let places = &mut self.places[(element % 2) as usize];
        if places.len() <= element as usize / 2 {
            make_room(places, element / 2);
            places.resize(element as usize / 2 + 1, (ABSENT, 0));
        }
        *self.place_mut(element) = (class, at);
    }

    fn detach(&mut self, element: Element) -> Class {
        let (class, at) = *self.place(element);
        *self.place_mut(element) = (ABSENT, 0);
        let elements = &mut self.members_mut(class).elements;
        elements.swap_remove(at as usize);
        if let Some(&moved) = elements.get(at as usize) {
            self.place_mut(moved).1 = at;
        }
        class
    }

    /// Drop a class without elements.
    fn bury(&mut self, class: Class, clock: Clock) -> Option<Class> {
        if class == NOTHING || !self.members(class).elements.is_empty() {
            return None;
        }
        self.set_key(class, None);
        self.classes[class as usize] = None;
        self.pool.give(class, clock);
        Some(class)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const CLOCK: Clock = Clock { version: 1, oldest: 0 };

    /// What the events say has to explain what is different.
    fn check(one: &Partition<u8>, keys: &BTreeMap<u32, u8>) {
        let mut classes: BTreeMap<u8, Class> = BTreeMap::new();
        for (&element, &key) in keys {
            let class = one.class(element).unwrap();
            assert_eq!(*one.key(class), key);
            assert_eq!(*classes.entry(key).or_insert(class), class);
            assert!(one.elements(class).contains(&element));
        }
        let nothing = usize::from(!classes.contains_key(&0));
        assert_eq!(one.classes().count(), classes.len() + nothing);
        let elements: usize = one.classes().map(|class| one.elements(class).len()).sum();
        assert_eq!(elements, keys.len());
    }

    proptest! {
        #[test]
        fn classes_are_those_of_the_keys(
            steps in prop::collection::vec(
                (prop::collection::btree_map(0u32..12, prop::option::of(0u8..5), 1..6), any::<bool>()),
                1..30,
            )
        ) {
            let mut partition = Partition::new();
            let mut keys: BTreeMap<u32, u8> = BTreeMap::new();
            for (step, in_place) in steps {
                let before: BTreeMap<_, _> = keys.keys().map(|&one| (one, partition.class(one).unwrap())).collect();
                let was: Vec<_> = partition.classes().map(|one| (one, *partition.key(one))).collect();
                let mut changes = Vec::new();
                for (element, key) in step {
                    match (keys.contains_key(&element), key) {
                        (true, Some(key)) => {
                            keys.insert(element, key);
                            changes.push((element, key));
                        }
                        (false, Some(key)) => {
                            keys.insert(element, key);
                            partition.insert(element, key, CLOCK);
                        }
                        (true, None) => {
                            keys.remove(&element);
                            partition.remove(element, CLOCK);
                        }
                        (false, None) => {}
                    }
                }
                let changed = changes.clone();
                let outcome = partition.rekey(changes, in_place, |one| one as usize, CLOCK);
                let events = outcome.events;
                check(&partition, &keys);
                let moved: BTreeMap<_, _> = outcome.moved.into_iter().collect();
                for (&element, &class) in &before {
                    let here = partition.class(element).filter(|_| keys.contains_key(&element));
                    if here.is_some() {
                        let expected = (here != Some(class)).then_some(class);
                        prop_assert_eq!(moved.get(&element).copied(), expected);
                    }
                }
                for (class, key) in was {
                    let same = partition.has(class) && *partition.key(class) == key;
                    let told = events.contains(&Event::Rekeyed(class)) || events.contains(&Event::Died(class));
                    let emptied = !before.values().any(|&one| one == class)
                        || before.iter().all(|(one, &c)| c != class || !keys.contains_key(one));
                    prop_assert!(same || told || emptied || !partition.has(class));
                    prop_assert!(in_place || !events.contains(&Event::Rekeyed(class)));
                }
                for (element, class) in before {
                    if keys.contains_key(&element) && !changed.iter().any(|(one, _)| *one == element) && !in_place {
                        prop_assert_eq!(partition.class(element), Some(class));
                    }
                }
            }
        }
    }
}
