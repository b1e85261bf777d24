//! What concerns a reader in all rooms: whom she ignores and which push rules were in force when.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use hearth_data::accounts::{account_data, push_rules};
use hearth_data::row::Json;
use hearth_event::{Pdu, push};
use hearth_store::{Position, Snapshot};
use ruma::push::Ruleset;
use ruma::{OwnedUserId, UserId};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::Result;

/// How many readers' facts are kept.
const READERS_MAX: usize = 5_000;

/// Account data of a reader, read.
#[derive(Debug)]
pub(crate) struct ReaderFacts {
    /// True as of this position.
    pub(crate) at: Position,
    pub(crate) user: OwnedUserId,
    pub(crate) ignored: HashSet<String>,
    /// She wants no invites, and is told of none.
    pub(crate) blocks_invites: bool,
    rules: Vec<Rules>,
    default_rules: OnceLock<Arc<Ruleset>>,
}

#[derive(Debug)]
struct Rules {
    from: Position,
    json: Json,
    parsed: OnceLock<Option<Arc<Ruleset>>>,
}

impl ReaderFacts {
    pub(crate) async fn load(snapshot: &dyn Snapshot, user: &UserId) -> Result<Self> {
        let key = (
            user.to_string(),
            String::new(),
            "m.ignored_user_list".to_owned(),
        );
        let ignored = account_data::account_data(snapshot, &key).await?;
        let history = push_rules::history(snapshot, user.as_str()).await?;
        let rules = history.into_iter().map(|(from, json)| Rules {
            from,
            json,
            parsed: OnceLock::new(),
        });
        Ok(Self {
            at: snapshot.position(),
            user: user.to_owned(),
            blocks_invites: account_data::blocks_invites(snapshot, user.as_str()).await?,
            ignored: ignored
                .map(|row| ignored_users(&row.content))
                .unwrap_or_default(),
            rules: rules.collect(),
            default_rules: OnceLock::new(),
        })
    }

    /// The push rules in force at a position; the oldest known ones before that, the server's if there are none.
    pub(crate) fn rules_at(&self, position: Position) -> Arc<Ruleset> {
        let newest = self.rules.iter().rev().find(|rules| rules.from <= position);
        newest
            .or(self.rules.first())
            .and_then(Rules::parsed)
            .unwrap_or_else(|| {
                self.default_rules
                    .get_or_init(|| Arc::new(push::default_ruleset(&self.user)))
                    .clone()
            })
    }

    /// Whether the event is withheld because of its sender: messages of ignored users are, state is not.
    pub(crate) fn is_ignored(&self, pdu: &Pdu) -> bool {
        !pdu.is_state() && self.ignored.contains(pdu.sender().as_str())
    }
}

impl Rules {
    fn parsed(&self) -> Option<Arc<Ruleset>> {
        #[derive(Deserialize)]
        struct Content {
            global: Ruleset,
        }
        let parse = || match serde_json::from_str::<Content>(self.json.text()) {
            Ok(content) => Some(Arc::new(content.global)),
            Err(error) => {
                tracing::warn!(%error, "stored push rules cannot be read; the default ones are used");
                None
            }
        };
        self.parsed.get_or_init(parse).clone()
    }
}

fn ignored_users(content: &Json) -> HashSet<String> {
    #[derive(Deserialize)]
    struct Content {
        ignored_users: HashMap<String, IgnoredAny>,
    }
    // Clients may store anything here; what is no list ignores nobody.
    serde_json::from_str::<Content>(content.text())
        .map(|content| content.ignored_users.into_keys().collect())
        .unwrap_or_default()
}

/// Facts of the readers who asked last.
pub(crate) struct ReaderFactsCache(quick_cache::sync::Cache<Box<str>, Arc<ReaderFacts>>);

impl ReaderFactsCache {
    pub(crate) fn new() -> Self {
        Self(quick_cache::sync::Cache::new(READERS_MAX))
    }

    pub(crate) fn get(&self, user: &str) -> Option<Arc<ReaderFacts>> {
        self.0.get(user)
    }

    pub(crate) fn put(&self, user: &str, facts: Arc<ReaderFacts>) {
        self.0.insert(user.into(), facts);
    }
}
