//! Making our own events, on what the room's current state and its ends are.

use hearth_data::EventNo;
use hearth_event::{Draft, Parents, Pdu, auth_keys_of_draft, build};
use hearth_types::limits::PREV_EVENTS_MAX;

use super::Stage;
use crate::Result;
use crate::view::Known;

impl Stage<'_> {
    /// An event as a draft asks for it, on the current state; with the numbers of its auth events.
    pub(super) async fn build(&mut self, draft: &Draft) -> Result<(Pdu, Vec<EventNo>)> {
        let version = self.view.version;
        let keys = auth_keys_of_draft(version, draft);
        let mut wanted: Vec<(&str, &str)> = keys
            .iter()
            .map(|(kind, key)| (kind.as_str(), key.as_str()))
            .collect();
        wanted.push(("m.room.create", ""));
        if let Some(key) = &draft.state_key {
            wanted.push((&draft.kind, key));
        }
        self.load(&wanted).await?;
        let auth: Vec<&Known> = keys
            .iter()
            .filter_map(|(kind, key)| self.view.known(kind, key)?)
            .collect();
        let auth_numbers = auth.iter().map(|known| known.event).collect();
        let head = &self.batch.head;
        let is_first = head.extremities.is_empty();
        let mut parents = Parents {
            room_id: (!is_first || version < hearth_event::RoomVersion::V12)
                .then(|| head.room_id.clone()),
            prev_events: head
                .extremities
                .iter()
                .take(PREV_EVENTS_MAX)
                .map(|extremity| extremity.event_id.clone())
                .collect(),
            auth_events: auth
                .iter()
                .map(|known| known.pdu.event_id().to_owned())
                .collect(),
            depth: head.depth.saturating_add(1),
            origin_server_ts: match self.at {
                Some(at) => at,
                None => self.inner.clock.now().max(self.ts_min),
            },
            ..Parents::default()
        };
        if version <= hearth_event::RoomVersion::V2 {
            for event in auth.into_iter().map(|known| &known.pdu) {
                let hash = event.reference_hash();
                parents
                    .reference_hashes
                    .insert(event.event_id().to_owned(), hash);
            }
            for id in &parents.prev_events {
                if let Some((_, _, pdu)) = self.event(id).await? {
                    parents
                        .reference_hashes
                        .insert(id.clone(), pdu.reference_hash());
                }
            }
        }
        let settings = &self.inner.settings;
        let pdu = build(
            draft,
            &parents,
            version,
            &settings.key,
            &settings.server_name,
        )?;
        Ok((pdu, auth_numbers))
    }
}
