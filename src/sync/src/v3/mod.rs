//! GET `/sync`: one snapshot, one position up to which everything is told, one function for each section.

mod ephemeral;
mod invited;
mod joined;
mod keys;
mod left;
mod misled;
mod presence;
mod rooms;
mod state;
mod summary;
mod timeline;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use hearth_data::accounts::account_data::{self, AccountDatum};
use hearth_store::{Position, Snapshot};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use crate::ask::{Reader, StateUntil, StateWanted, SyncAsk};
use crate::filter::{EventFilter, Filter};
use crate::json::{JsonWriter, typed};
use crate::lazy::Told;
use crate::notifier::{Glance, News};
use crate::profile::ReaderFacts;
use crate::render::{Rendering, Shape};
use crate::room::RoomReader;
use crate::service::Inner;
use crate::{Error, Result, SyncToken, Token};

/// The account data that lists ignored users.
const IGNORED: &str = "m.ignored_user_list";

/// What one round of a sync works with.
pub(crate) struct Round<'a> {
    pub(crate) inner: &'a Inner,
    pub(crate) snapshot: &'a dyn Snapshot,
    pub(crate) reader: &'a Reader,
    pub(crate) filter: &'a Filter,
    pub(crate) facts: Arc<ReaderFacts>,
    /// What the device was told of members, if it loads them lazily.
    pub(crate) told: Option<Arc<Told>>,
    /// What the client knows; `None` for an initial sync.
    pub(crate) since: Option<SyncToken>,
    /// What it will know.
    pub(crate) to: SyncToken,
    pub(crate) state_wanted: StateWanted,
    pub(crate) state_until: StateUntil,
    now: hearth_types::UnixMs,
}

impl Round<'_> {
    fn user(&self) -> &str {
        self.reader.user.as_str()
    }

    fn since_position(&self) -> Position {
        self.since.map_or(Position::ZERO, |since| since.position)
    }

    fn since_typing(&self) -> u64 {
        self.since.map_or(0, |since| since.typing)
    }

    fn rendering(&self) -> Rendering<'_> {
        Rendering {
            reader: self.reader,
            facts: &self.facts,
            now: self.now,
            shape: Shape::InRoom,
            format: self.filter.event_format,
            fields: self.filter.event_fields.as_ref(),
        }
    }

    async fn room(&self, room: hearth_data::RoomNo) -> Result<Option<RoomReader<'_>>> {
        self.inner.room(self.snapshot, room).await
    }
}

/// What a round found.
struct Answer {
    json: String,
    has_news: bool,
}

/// GET `/sync`.
pub(crate) async fn sync(inner: &Inner, ask: SyncAsk) -> Result<Bytes> {
    let filter = inner.filter(&ask.reader, ask.filter.as_deref()).await?;
    let since = match ask.since {
        None => None,
        Some(Token::Sync(token)) => Some(token),
        Some(token @ (Token::History(_) | Token::Gap { .. })) => {
            return Err(Error::BadToken(token.to_string()));
        }
    };
    let lazy = &filter.room.state;
    if lazy.lazy_load_members && since.is_none() {
        inner.lazy.forget(&ask.reader);
    }
    let answers_at_once = since.is_none() || ask.state_wanted == StateWanted::Full;
    let timeout = ask.timeout.min(inner.parts.settings.timeout_max);
    let deadline = Instant::now() + timeout;
    loop {
        let wake = inner.notifier.connect(ask.reader.user.as_str()).await?;
        let mut woken = std::pin::pin!(wake.notified());
        // Before looking, so that what comes after the look is not missed.
        woken.as_mut().enable();
        let answer = look(inner, &ask, &filter, since).await?;
        if answer.has_news || answers_at_once || Instant::now() >= deadline {
            return Ok(answer.json.into());
        }
        if timeout_at(deadline, woken).await.is_err() {
            // Time is up: what is told now is as new as can be.
            return Ok(look(inner, &ask, &filter, since).await?.json.into());
        }
    }
}

async fn look(
    inner: &Inner,
    ask: &SyncAsk,
    filter: &Filter,
    since: Option<SyncToken>,
) -> Result<Answer> {
    let typing = inner.parts.typing.version();
    let presence = inner.notifier.presences_seen();
    let snapshot = inner.parts.store.snapshot().await?;
    let position = snapshot.position();
    inner.notifier.reach(position).await?;
    let to = SyncToken {
        position,
        typing,
        presence,
        to_device: None,
        misled_since: None,
    };
    let lazy = &filter.room.state;
    let remembers = lazy.lazy_load_members && !lazy.include_redundant_members;
    if lazy.lazy_load_members && lazy.include_redundant_members {
        inner.lazy.forget(&ask.reader);
    }
    let mut round = Round {
        inner,
        snapshot: &*snapshot,
        reader: &ask.reader,
        filter,
        facts: inner.reader_facts(&*snapshot, &ask.reader).await?,
        told: remembers.then(|| inner.lazy.of(&ask.reader)),
        // A token from before a restored backup may be ahead of everything.
        since: since.map(|since| SyncToken {
            position: since.position.min(position),
            typing: Some(since.typing)
                .filter(|known| *known <= typing)
                .unwrap_or(0),
            presence: since.presence.min(presence),
            to_device: Some(since.to_device().min(position)),
            misled_since: since.misled_since,
        }),
        to,
        state_wanted: ask.state_wanted,
        state_until: ask.state_until,
        now: inner.parts.clock.now(),
    };
    if round.since.is_none() {
        round.state_wanted = StateWanted::Full;
    }
    answer(&round).await
}

async fn answer(round: &Round<'_>) -> Result<Answer> {
    let glance = match round.since {
        Some(since) => round.inner.notifier.glance(round.user(), since),
        None => Glance::nothing(),
    };
    let keys = keys::sections(round, &glance).await?;
    let data = account_data_changed(round, &glance.news).await?;
    let sections = rooms::sections(round, glance.news, &data).await?;
    let presences = presence::section(round, glance.faces, &sections.joined_anew).await?;
    let next = SyncToken {
        to_device: Some(keys.to_device.upto).filter(|upto| *upto != round.to.position),
        misled_since: sections.misled_since,
        ..round.to
    };
    let mut json = JsonWriter::new();
    json.begin_object();
    json.key("next_batch");
    json.text(&next.to_string());
    if !data.global.is_empty() {
        json.events_field("account_data", &data.global);
    }
    if !presences.is_empty() {
        json.events_field("presence", &presences);
    }
    if !sections.is_empty() {
        json.key("rooms");
        sections.write(&mut json);
    }
    keys.write(&mut json);
    json.end_object();
    Ok(Answer {
        has_news: !data.global.is_empty()
            || !sections.is_empty()
            || !presences.is_empty()
            || keys.has_news(round.since),
        json: json.finish(),
    })
}

/// Account data that changed.
struct DataChanged {
    global: Vec<Box<RawValue>>,
    /// The list of ignored users is among it.
    is_ignoring_anew: bool,
    /// By room id.
    rooms: HashMap<String, Vec<Box<RawValue>>>,
}

async fn account_data_changed(round: &Round<'_>, news: &News) -> Result<DataChanged> {
    let mut changed = DataChanged {
        global: Vec::new(),
        is_ignoring_anew: false,
        rooms: HashMap::new(),
    };
    if matches!(
        news,
        News::Known {
            has_data: false,
            ..
        }
    ) {
        return Ok(changed);
    }
    let data = match round.since {
        None => account_data::all(round.snapshot, round.user()).await?,
        Some(since) => {
            let (from, to) = (since.position, round.to.position);
            account_data::changed_since(round.snapshot, round.user(), from, to).await?
        }
    };
    for datum in data {
        match &datum.room {
            None => {
                changed.is_ignoring_anew |= round.since.is_some() && datum.kind == IGNORED;
                let json = wanted(&round.filter.account_data, &datum);
                changed.global.extend(json);
            }
            Some(room) => {
                if let Some(json) = wanted(&round.filter.room.account_data, &datum) {
                    changed.rooms.entry(room.clone()).or_default().push(json);
                }
            }
        }
    }
    Ok(changed)
}

fn wanted(filter: &EventFilter, datum: &AccountDatum) -> Option<Box<RawValue>> {
    filter
        .wants_type(&datum.kind)
        .then(|| typed(&datum.kind, datum.content.text()))
        .flatten()
}
