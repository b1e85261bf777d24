//! Templates of member events for other servers' users.

use std::collections::BTreeMap;

use hearth_data::{federation, timeline};
use hearth_event::canonical::{self, Object, Value};
use hearth_event::{
    Draft, Parents, Pdu, PowerLevels, RoomVersion, auth_keys_of_draft, authorize, build,
};
use hearth_ports::remote::MemberKind;
use hearth_types::limits::PREV_EVENTS_MAX;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedUserId, RoomId, ServerName, UserId};

use crate::read::Look;
use crate::restricted::{fulfils_condition, inviters};
use crate::{Error, Result, Rooms, content};

/// A member event that another server is to complete and sign.
#[derive(Clone, Debug)]
pub struct Template {
    /// The room's version.
    pub room_version: RoomVersion,
    /// The event without hashes and signatures, a JSON object.
    pub event: String,
}

impl Rooms {
    /// GET /_matrix/federation/v1/make_join, make_leave and make_knock: what the member event of another server's user
    /// would have to be. `versions` are the room versions that the server knows.
    pub async fn member_template(
        &self,
        server: &ServerName,
        kind: MemberKind,
        (room_id, user): (&RoomId, &UserId),
        versions: &[String],
    ) -> Result<Template> {
        if user.server_name() != server {
            return Err(Error::Denied);
        }
        let snapshot = self.snapshot().await?;
        let room = hearth_data::rooms::number(&*snapshot, room_id).await?;
        let room = room.ok_or(Error::NoServerInRoom)?;
        let look = self.look(snapshot, room).await?;
        let look = look.filter(|look| look.head.joined_local > 0);
        let look = look.ok_or(Error::NoServerInRoom)?;
        if hearth_data::partial::partial(&*look.snapshot, room)
            .await?
            .is_some()
        {
            return Err(Error::NotYet);
        }
        if !look.permits(server).await? {
            return Err(Error::Denied);
        }
        let version = look.version;
        if kind != MemberKind::Leave && !versions.iter().any(|known| known == version.as_str()) {
            return Err(Error::IncompatibleVersion(version.as_str().to_owned()));
        }
        let mut content = Object::from([("membership".to_owned(), Value::from(kind.as_str()))]);
        if kind == MemberKind::Join
            && let Some(authoriser) = self.authoriser(&look, user).await?
        {
            let field = "join_authorised_via_users_server".to_owned();
            content.insert(field, authoriser.as_str().into());
        }
        let draft = Draft {
            sender: user.to_owned(),
            kind: "m.room.member".to_owned(),
            state_key: Some(user.to_string()),
            content: content::raw(&content)?,
            redacts: None,
        };
        let pdu = self.draft_event(&look, &draft).await?;
        let mut event = pdu.to_object();
        for field in ["hashes", "signatures"] {
            event.remove(field);
        }
        Ok(Template {
            room_version: version,
            event: canonical::to_string(&event),
        })
    }

    /// The event that a draft would become now, if the rules allow it.
    async fn draft_event(&self, look: &Look, draft: &Draft) -> Result<Pdu> {
        let state = look.head.state;
        let mut keys = auth_keys_of_draft(look.version, draft);
        let mut known = BTreeMap::new();
        for (kind, key) in &keys {
            if let Some((pdu, _)) = look.state_event(state, kind, key).await? {
                known.insert((kind.clone(), key.clone()), pdu);
            }
        }
        keys.retain(|key| known.contains_key(key));
        let auth: Vec<&Pdu> = keys.iter().filter_map(|key| known.get(key)).collect();
        let before = look.head.extremities.iter().take(PREV_EVENTS_MAX);
        let mut parents = Parents {
            room_id: Some(look.head.room_id.clone()),
            prev_events: before.map(|extremity| extremity.event_id.clone()).collect(),
            auth_events: auth.iter().map(|pdu| pdu.event_id().to_owned()).collect(),
            depth: look.head.depth.saturating_add(1),
            origin_server_ts: self.0.clock.now(),
            ..Parents::default()
        };
        if look.version <= RoomVersion::V2 {
            let numbers: Vec<_> = look
                .head
                .extremities
                .iter()
                .map(|found| found.event)
                .collect();
            let rows = timeline::events(&*look.snapshot, look.room, &numbers).await?;
            let before = rows.iter().map(|row| look.pdu(row));
            let before = before.collect::<Result<Vec<Pdu>>>()?;
            for pdu in before.iter().chain(auth.iter().copied()) {
                let id = pdu.event_id().to_owned();
                parents.reference_hashes.insert(id, pdu.reference_hash());
            }
        }
        let settings = &self.0.settings;
        let pdu = build(
            draft,
            &parents,
            look.version,
            &settings.key,
            &settings.server_name,
        )?;
        if let Some((create, _)) = look.state_event(state, "m.room.create", "").await? {
            known.insert(("m.room.create".to_owned(), String::new()), create);
        }
        authorize(&pdu, &|kind, key| {
            known.get(&(kind.to_owned(), key.to_owned())).cloned()
        })?;
        Ok(pdu)
    }

    /// For a user who needs it, a local member who lets her in by a restricted join rule.
    async fn authoriser(&self, look: &Look, user: &UserId) -> Result<Option<OwnedUserId>> {
        let Some(rule) = look.current("m.room.join_rules").await? else {
            return Ok(None);
        };
        let name = content::text(&rule, "join_rule");
        if !matches!(name.as_deref(), Some("restricted" | "knock_restricted")) {
            return Ok(None);
        }
        let state = look.head.state;
        let own = look
            .state_event(state, "m.room.member", user.as_str())
            .await?;
        let membership = own.and_then(|(event, _)| content::membership(&event));
        if matches!(
            membership,
            Some(MembershipState::Join | MembershipState::Invite)
        ) {
            return Ok(None);
        }
        if !fulfils_condition(&*look.snapshot, user, &rule).await? {
            return Err(match self.knows_conditions(look, &rule).await? {
                true => Error::Refused("the user is in none of the rooms that let her in"),
                false => Error::CannotAuthoriseJoin,
            });
        }
        self.local_inviter(look)
            .await?
            .map(Some)
            .ok_or(Error::CannotGrantJoin)
    }

    /// Whether a user here is in each of the rooms that let somebody in, so that this server can tell who else is.
    async fn knows_conditions(&self, look: &Look, rule: &Pdu) -> Result<bool> {
        for room_id in crate::summary::allowed_rooms(rule) {
            let room = hearth_data::rooms::number(&*look.snapshot, &room_id).await?;
            let own = self.server_name().as_str();
            let is_in = match room {
                Some(room) => federation::is_server_in(&*look.snapshot, room, own).await?,
                None => false,
            };
            if !is_in {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A joined local user who may invite.
    async fn local_inviter(&self, look: &Look) -> Result<Option<OwnedUserId>> {
        let create = look.current("m.room.create").await?;
        let levels = look.current("m.room.power_levels").await?;
        let Some(create) = create else {
            return Ok(None);
        };
        let power = PowerLevels::of(&create, levels.as_ref());
        let place = (&*look.snapshot, look.room);
        let of = (Some(create.sender().to_owned()), levels.as_ref());
        let candidates = inviters(&self.0, place, &power, of).await?;
        for user in candidates {
            let state = look.head.state;
            let event = look
                .state_event(state, "m.room.member", user.as_str())
                .await?;
            let membership = event.and_then(|(event, _)| content::membership(&event));
            if membership == Some(MembershipState::Join) {
                return Ok(Some(user));
            }
        }
        Ok(None)
    }
}
