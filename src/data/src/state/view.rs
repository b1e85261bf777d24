//! Reading states.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hearth_store::{Error, Snapshot};

use super::compact::RoomItem;
use super::hash::{HashKey, StateHash};
use super::node::{Entry, Node, Rest, StateRow};
use super::trie::{self, Loaded, Setting};
use crate::tables::STATE_NODES;
use crate::{EventNo, Result, RoomNo, StateId};

/// How many rows of a chain are fetched at once.
const CHAIN_FETCH: u64 = 16;

/// How many nodes of a trie are fetched at once; bounds what a walk holds in memory.
const TRIE_FETCH: usize = 256;

/// Decoded nodes under a byte budget. A node's number is never used for anything else, so an entry cannot be wrong.
#[derive(Debug)]
pub struct StateCache(quick_cache::sync::Cache<RoomItem, Arc<Node>, Weight>);

#[derive(Clone, Debug)]
struct Weight;

impl quick_cache::Weighter<RoomItem, Arc<Node>> for Weight {
    fn weight(&self, _: &RoomItem, node: &Arc<Node>) -> u64 {
        node.weight()
    }
}

impl StateCache {
    /// A cache of at most this many bytes.
    pub fn new(bytes_max: u64) -> Self {
        // A node takes about 256 bytes in memory.
        let items = usize::try_from(bytes_max / 256).unwrap_or(usize::MAX);
        Self(quick_cache::sync::Cache::with_weighter(
            items, bytes_max, Weight,
        ))
    }

    /// What it holds, in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.weight()
    }
}

/// What reading state takes besides a snapshot: the store's secret and the cache. One for the whole server.
#[derive(Debug)]
pub struct States {
    key: HashKey,
    cache: StateCache,
}

impl States {
    /// With the store's secret and a cache of at most this many bytes.
    pub fn new(key: HashKey, cache_bytes_max: u64) -> Self {
        let cache = StateCache::new(cache_bytes_max);
        Self { key, cache }
    }

    /// The secret, for hashing keys.
    pub fn key(&self) -> &HashKey {
        &self.key
    }

    /// The cache, for its figures.
    pub fn cache(&self) -> &StateCache {
        &self.cache
    }

    /// The states of a room as a snapshot shows them.
    pub fn view<'a>(&'a self, room: RoomNo, snapshot: &'a dyn Snapshot) -> StateView<'a> {
        StateView {
            room,
            snapshot,
            states: self,
            staged: None,
        }
    }
}

/// The states of a room. Every answer is for one state, given by its id.
#[derive(Clone, Copy)]
pub struct StateView<'a> {
    pub(super) room: RoomNo,
    pub(super) snapshot: &'a dyn Snapshot,
    pub(super) states: &'a States,
    /// What a writer has not yet committed. Never goes into the cache: the commit may fail.
    pub(super) staged: Option<&'a BTreeMap<u64, Arc<Node>>>,
}

/// The chain on top of a trie, summed up.
pub(super) struct Overlay {
    /// What the chain sets, by key.
    pub(super) settings: BTreeMap<StateHash, Option<EventNo>>,
    /// The trie below it.
    pub(super) trie: Option<u64>,
}

/// Which part of a state is asked for.
#[derive(Clone, Copy)]
enum Part {
    All,
    OfType(u64),
    WithoutType(u64),
}

impl StateView<'_> {
    /// The event at a type and state key. Reads the state's chain and one path of the trie.
    pub async fn lookup(
        &self,
        state: StateId,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<EventNo>> {
        let hash = self.states.key.hash(event_type, state_key);
        let found = self.lookup_hashes(state, &[hash]).await?;
        Ok(found.into_iter().next().flatten())
    }

    /// The events at several types and state keys, in their order.
    pub async fn lookup_many(
        &self,
        state: StateId,
        keys: &[(&str, &str)],
    ) -> Result<Vec<Option<EventNo>>> {
        let hashes: Vec<StateHash> = keys
            .iter()
            .map(|(event_type, state_key)| self.states.key.hash(event_type, state_key))
            .collect();
        self.lookup_hashes(state, &hashes).await
    }

    /// The events at several keys, in their order.
    pub async fn lookup_hashes(
        &self,
        state: StateId,
        hashes: &[StateHash],
    ) -> Result<Vec<Option<EventNo>>> {
        let mut open: Vec<Setting> = hashes.iter().map(|hash| (*hash, None)).collect();
        open.sort_unstable();
        open.dedup();
        let mut found: HashMap<StateHash, Option<EventNo>> = HashMap::with_capacity(open.len());
        let mut walk = ChainWalk::new(self, state);
        let trie = loop {
            match walk.step(self).await? {
                Step::Settings(settings) => {
                    open.retain(|(hash, _)| match settings.at(*hash) {
                        Some(event) => {
                            found.insert(*hash, event);
                            false
                        }
                        None => true,
                    });
                    if open.is_empty() {
                        break None;
                    }
                }
                Step::Trie(trie) => break trie,
            }
        };
        let loaded = self.load_paths(trie, &open).await?;
        Ok(hashes
            .iter()
            .map(|hash| match found.get(hash) {
                Some(event) => *event,
                None => trie::value_at(&loaded, trie, *hash),
            })
            .collect())
    }

    /// All entries, in the order of their hashes.
    pub async fn entries(&self, state: StateId) -> Result<Vec<Entry>> {
        self.entries_of(state, Part::All).await
    }

    /// All entries of a type; reads only these.
    pub async fn entries_of_type(&self, state: StateId, event_type: &str) -> Result<Vec<Entry>> {
        let number = self.states.key.type_number(event_type);
        self.entries_of(state, Part::OfType(number)).await
    }

    /// All entries but those of a type; reads only these.
    pub async fn entries_without_type(
        &self,
        state: StateId,
        event_type: &str,
    ) -> Result<Vec<Entry>> {
        let number = self.states.key.type_number(event_type);
        self.entries_of(state, Part::WithoutType(number)).await
    }

    /// A number that is equal for equal states, however they were made, and (but for a chance of 2^-128) only
    /// for these. Reads one row.
    pub async fn fingerprint(&self, state: StateId) -> Result<u128> {
        Ok(self
            .state_row(state)
            .await?
            .map_or(0, |row| row.state().fingerprint))
    }

    /// The number of entries. Reads one row.
    pub async fn len(&self, state: StateId) -> Result<u64> {
        Ok(self
            .state_row(state)
            .await?
            .map_or(0, |row| row.state().len))
    }

    async fn entries_of(&self, state: StateId, part: Part) -> Result<Vec<Entry>> {
        let overlay = self.overlay(state).await?;
        let mut entries = self.trie_entries(overlay.trie, part).await?;
        if !overlay.settings.is_empty() {
            entries.retain(|entry| !overlay.settings.contains_key(&entry.hash));
            let set = overlay
                .settings
                .iter()
                .filter(|(hash, _)| part.holds(**hash));
            entries.extend(set.filter_map(|(hash, event)| {
                Some(Entry {
                    hash: *hash,
                    event: (*event)?,
                })
            }));
        }
        entries.sort_unstable();
        Ok(entries)
    }

    /// The whole chain of a state, summed up.
    pub(super) async fn overlay(&self, state: StateId) -> Result<Overlay> {
        let mut settings = BTreeMap::new();
        let mut walk = ChainWalk::new(self, state);
        loop {
            match walk.step(self).await? {
                Step::Settings(newer) => {
                    for change in newer.changes() {
                        settings.entry(change.hash).or_insert(change.after);
                    }
                }
                Step::Trie(trie) => return Ok(Overlay { settings, trie }),
            }
        }
    }

    /// All entries of a trie (without a chain).
    pub(super) async fn whole_trie(&self, root: Option<u64>) -> Result<Vec<Entry>> {
        self.trie_entries(root, Part::All).await
    }

    async fn trie_entries(&self, root: Option<u64>, part: Part) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut open: Vec<u64> = root.into_iter().collect();
        while !open.is_empty() {
            let some = open.split_off(open.len().saturating_sub(TRIE_FETCH));
            for (number, node) in some.iter().zip(self.load_many(&some).await?) {
                match node.as_ref() {
                    Node::Leaf(leaf) => {
                        entries.extend(leaf.iter().filter(|entry| part.holds(entry.hash)));
                    }
                    Node::Inner(inner) => open.extend(
                        inner
                            .child_numbers(*number)
                            .filter(|(nibble, _)| part.meets(inner.at, inner.prefix, *nibble))
                            .map(|(_, child)| child),
                    ),
                    Node::State(_) => return Err(self.corrupt(*number, "a state inside a trie")),
                }
            }
        }
        Ok(entries)
    }

    /// The nodes of a trie on the paths to sorted keys.
    pub(super) async fn load_paths(
        &self,
        root: Option<u64>,
        settings: &[Setting],
    ) -> Result<Loaded> {
        let mut loaded = Loaded::new();
        let mut open: Vec<(u64, &[Setting])> =
            root.map(|root| (root, settings)).into_iter().collect();
        while !open.is_empty() {
            let some = open.split_off(open.len().saturating_sub(TRIE_FETCH));
            let numbers: Vec<u64> = some.iter().map(|(number, _)| *number).collect();
            for ((number, part), node) in some.into_iter().zip(self.load_many(&numbers).await?) {
                match node.as_ref() {
                    Node::Inner(inner) => {
                        let parts = trie::by_nibble(trie::below(part, inner), inner.at);
                        open.extend(parts.filter_map(|(nibble, part)| {
                            Some((inner.child(number, nibble)?, part))
                        }));
                    }
                    Node::Leaf(_) => {}
                    Node::State(_) => return Err(self.corrupt(number, "a state inside a trie")),
                }
                loaded.insert(number, node);
            }
        }
        Ok(loaded)
    }

    /// The row of a state; `None` for the empty state.
    pub(super) async fn state_row(&self, state: StateId) -> Result<Option<LoadedState>> {
        if state == StateId::EMPTY {
            return Ok(None);
        }
        let node = self.load(state.0).await?;
        self.as_state(state.0, node).map(Some)
    }

    pub(super) fn as_state(&self, number: u64, node: Arc<Node>) -> Result<LoadedState> {
        match node.as_ref() {
            Node::State(_) => Ok(LoadedState { number, node }),
            _ => Err(self.corrupt(number, "not a state")),
        }
    }

    /// A row, which must be there.
    pub(super) async fn load(&self, number: u64) -> Result<Arc<Node>> {
        match self.load_if_present(number).await? {
            Some(node) => Ok(node),
            None => Err(self.corrupt(number, "a row that others point to is missing")),
        }
    }

    /// A row, unless it was swept.
    pub(super) async fn load_if_present(&self, number: u64) -> Result<Option<Arc<Node>>> {
        if let Some(node) = self.in_memory(number) {
            return Ok(Some(node));
        }
        let key = self.item(number);
        let Some(node) = STATE_NODES.get(self.snapshot, &key).await? else {
            return Ok(None);
        };
        Ok(Some(self.remember(key, node)))
    }

    /// A row of a chain together with the rows before it, which the walk will want next.
    async fn load_chained(&self, number: u64) -> Result<Arc<Node>> {
        if let Some(node) = self.in_memory(number) {
            return Ok(node);
        }
        let from = self.item(number.saturating_sub(CHAIN_FETCH - 1));
        let range = STATE_NODES.between(&from, &self.item(number.saturating_add(1)));
        let limit = usize::try_from(CHAIN_FETCH).unwrap_or(1);
        let mut wanted = None;
        for (key, node) in STATE_NODES.range(self.snapshot, range, limit).await? {
            let node = self.remember(key, node);
            if key.number == number {
                wanted = Some(node);
            }
        }
        wanted.ok_or_else(|| self.corrupt(number, "a row that others point to is missing"))
    }

    /// Several rows, which must be there.
    pub(super) async fn load_many(&self, numbers: &[u64]) -> Result<Vec<Arc<Node>>> {
        let mut nodes: Vec<Option<Arc<Node>>> = numbers
            .iter()
            .map(|number| self.in_memory(*number))
            .collect();
        let missing: Vec<RoomItem> = numbers
            .iter()
            .zip(&nodes)
            .filter(|(_, node)| node.is_none())
            .map(|(number, _)| self.item(*number))
            .collect();
        if !missing.is_empty() {
            let mut rows = missing
                .iter()
                .zip(STATE_NODES.get_many(self.snapshot, &missing).await?);
            for slot in nodes.iter_mut().filter(|node| node.is_none()) {
                if let Some((key, Some(node))) = rows.next() {
                    *slot = Some(self.remember(*key, node));
                }
            }
        }
        numbers
            .iter()
            .zip(nodes)
            .map(|(number, node)| {
                node.ok_or_else(|| self.corrupt(*number, "a row that others point to is missing"))
            })
            .collect()
    }

    fn in_memory(&self, number: u64) -> Option<Arc<Node>> {
        if let Some(node) = self.staged.and_then(|staged| staged.get(&number)) {
            return Some(node.clone());
        }
        self.states.cache.0.get(&self.item(number))
    }

    fn remember(&self, key: RoomItem, node: Node) -> Arc<Node> {
        let node = Arc::new(node);
        self.states.cache.0.insert(key, node.clone());
        node
    }

    fn item(&self, number: u64) -> RoomItem {
        RoomItem {
            room: self.room,
            number,
        }
    }

    pub(super) fn corrupt(&self, number: u64, reason: &str) -> Error {
        Error::Corrupt {
            table: STATE_NODES.info().name,
            key: format!("room {}, node {number}", self.room.0),
            reason: reason.to_owned(),
        }
    }
}

impl Part {
    fn holds(self, hash: StateHash) -> bool {
        match self {
            Self::All => true,
            Self::OfType(number) => hash.type_number() == number,
            Self::WithoutType(number) => hash.type_number() != number,
        }
    }

    /// Whether a child of a fork can hold entries of this part.
    fn meets(self, at: u32, prefix: StateHash, nibble: u8) -> bool {
        let of_type = |number| {
            let sought = StateHash::of_numbers(number, 0);
            let depth = at.min(16);
            let same = sought.head(depth) == prefix.head(depth);
            same && (at >= 16 || sought.nibble(at) == nibble)
        };
        match self {
            Self::All => true,
            Self::OfType(number) => of_type(number),
            // A child that a half-byte of the type leads to may hold other types too.
            Self::WithoutType(number) => at < 16 || !of_type(number),
        }
    }
}

/// A row that was checked to be a state, with its number.
#[derive(Clone)]
pub(super) struct LoadedState {
    pub(super) number: u64,
    node: Arc<Node>,
}

impl LoadedState {
    pub(super) fn state(&self) -> &StateRow {
        match self.node.as_ref() {
            Node::State(row) => row,
            // Checked when it was made.
            Node::Inner(_) | Node::Leaf(_) => unreachable!("only states are loaded as states"),
        }
    }

    /// The state that this one was made from, if that is recorded.
    pub(super) fn parent(&self) -> Option<StateId> {
        match self.state().parent_back {
            0 => None,
            back => Some(StateId(self.number.saturating_sub(back))),
        }
    }

    /// The state below the run, for rows that have one.
    pub(super) fn skip(&self) -> Option<StateId> {
        match &self.state().rest {
            Rest::Run { skip_back, .. } => Some(StateId(self.number.saturating_sub(*skip_back))),
            Rest::Plain { .. } | Rest::Full { .. } => None,
        }
    }

    /// The trie of a full row.
    fn trie(&self) -> Option<Option<u64>> {
        match &self.state().rest {
            Rest::Full { trie_back } => {
                Some(trie_back.map(|back| self.number.saturating_sub(back)))
            }
            Rest::Plain { .. } | Rest::Run { .. } => None,
        }
    }

    fn run(&self) -> &[super::node::Change] {
        match &self.state().rest {
            Rest::Run { run, .. } => run,
            Rest::Plain { .. } | Rest::Full { .. } => &[],
        }
    }

    fn changes(&self) -> impl Iterator<Item = &super::node::Change> {
        self.state().changes.iter().chain(self.run())
    }

    /// What this row sets a key to, if it does.
    fn at(&self, hash: StateHash) -> Option<Option<EventNo>> {
        [&self.state().changes, self.run()]
            .into_iter()
            .find_map(|changes| {
                let at = changes
                    .binary_search_by_key(&hash, |change| change.hash)
                    .ok()?;
                Some(changes[at].after)
            })
    }
}

/// What the next row of a chain says.
enum Step {
    /// It sets these keys; earlier rows count only for others.
    Settings(LoadedState),
    /// The chain ends here, the rest is in this trie.
    Trie(Option<u64>),
}

/// From a state down its chain, over the runs, to the trie.
struct ChainWalk {
    next: StateId,
    // The row was reached from the one after it, so that its neighbours will be wanted too.
    chained: bool,
}

impl ChainWalk {
    fn new(_: &StateView<'_>, state: StateId) -> Self {
        Self {
            next: state,
            chained: false,
        }
    }

    async fn step(&mut self, view: &StateView<'_>) -> Result<Step> {
        let number = self.next.0;
        if self.next == StateId::EMPTY {
            return Ok(Step::Trie(None));
        }
        let node = if self.chained {
            view.load_chained(number).await?
        } else {
            view.load(number).await?
        };
        let row = view.as_state(number, node)?;
        if let Some(trie) = row.trie() {
            return Ok(Step::Trie(trie));
        }
        let below = row.skip().or_else(|| row.parent());
        // Decoding refuses chain rows without a parent, and distances below the first number end at the empty state.
        let below = below.ok_or_else(|| view.corrupt(number, "a chain without an end"))?;
        self.chained = row.skip().is_none() && below.0 + 1 == number;
        self.next = below;
        Ok(Step::Settings(row))
    }
}
