//! Invites by address across servers (server-server API, "Third-party invites"): who was invited by an address turns out
//! to be a user of one server, and the one who invited of another, which alone can write the invite.

use hearth_event::canonical::{self, Object, Strictness, Value, parse_object};
use ruma::{RoomId, ServerName, UserId};
use serde_json::value::RawValue;

use crate::membership::{Action, MemberAsk};
use crate::{Error, Result, Rider, Rooms, content};

const KIND: &str = "m.room.third_party_invite";

/// What the invited user's server asks for.
struct Exchange {
    sender: ruma::OwnedUserId,
    target: ruma::OwnedUserId,
    token: String,
    signed: Object,
}

impl Rooms {
    /// PUT /_matrix/federation/v1/exchange_third_party_invite: makes an invite of what an identity server has signed, in the
    /// name of our user who invited the address, and has the invited user's server sign it like any other.
    pub async fn exchange_third_party_invite(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event: &RawValue,
    ) -> Result<()> {
        let site = self.resident_site(room_id, origin).await?;
        let exchange = Exchange::read(room_id, event)?;
        if exchange.target.server_name() != origin {
            return Err(Error::Denied);
        }
        if !self.0.is_local(&exchange.sender) {
            return Err(Error::Refused("the sender is no user of this server"));
        }
        let snapshot = self.snapshot().await?;
        let mut stage = self.scratch(&*snapshot, site.room).await?;
        stage.load(&[(KIND, &exchange.token)]).await?;
        let issued = stage.view.pdu(KIND, &exchange.token).cloned();
        drop(stage);
        drop(snapshot);
        let issued = issued.filter(|issued| issued.sender() == exchange.sender);
        let issued = issued.ok_or(Error::Refused("there is no such invite"))?;
        // The name is the room's, not what the other server says; whether the signature is good the room's rules decide.
        let mut invite = Object::from([("signed".to_owned(), Value::Object(exchange.signed))]);
        let name = content::text(&issued, "display_name").unwrap_or_default();
        invite.insert("display_name".to_owned(), name.into());
        let ask = MemberAsk {
            action: Action::Invite { is_direct: false },
            sender: exchange.sender,
            target: exchange.target,
            reason: None,
            further: Object::from([("third_party_invite".to_owned(), Value::Object(invite))]),
            third_party: None,
        };
        self.invite_over(site.room, &ask, Rider::new()).await
    }

    /// Has a user of ours who was invited by an address invited by the server of the one who did so. Whether that has come
    /// to anything shows when she joins.
    pub(crate) async fn exchange_over(&self, room_id: &RoomId, user: &UserId, signed: &Object) {
        let inviter = signed.get("sender").and_then(Value::as_str);
        let Some(inviter) = inviter.and_then(|id| UserId::parse(id).ok()) else {
            return;
        };
        if self.0.is_local(&inviter) {
            return;
        }
        let text = |text: &str| Value::from(text);
        let invite = Object::from([
            ("display_name".to_owned(), text("")),
            ("signed".to_owned(), Value::Object(signed.clone())),
        ]);
        let content = Object::from([
            ("membership".to_owned(), text("invite")),
            ("third_party_invite".to_owned(), Value::Object(invite)),
        ]);
        let event = Object::from([
            ("type".to_owned(), text("m.room.member")),
            ("room_id".to_owned(), text(room_id.as_str())),
            ("sender".to_owned(), text(inviter.as_str())),
            ("state_key".to_owned(), text(user.as_str())),
            ("content".to_owned(), Value::Object(content)),
        ]);
        let Ok(event) = RawValue::from_string(canonical::to_string(&event)) else {
            return;
        };
        let server = inviter.server_name();
        let asked = self.remote();
        if let Err(error) = asked
            .exchange_third_party_invite(server, room_id, &event)
            .await
        {
            tracing::debug!(%server, room.id = %room_id, %error, "no invite for an address");
        }
    }
}

impl Exchange {
    fn read(room_id: &RoomId, event: &RawValue) -> Result<Self> {
        let bad = |what: &str| Error::BadEvent(what.to_owned());
        let event = parse_object(event.get().as_bytes(), Strictness::Strict)
            .map_err(|error| Error::BadEvent(error.to_string()))?;
        let text = |object: &Object, field: &str| {
            let text = object.get(field).and_then(Value::as_str);
            text.map(ToOwned::to_owned)
                .ok_or_else(|| Error::BadEvent(format!("`{field}` is missing or not a string")))
        };
        if text(&event, "type")? != "m.room.member" || text(&event, "room_id")? != *room_id {
            return Err(bad("the event is no member event of the room"));
        }
        let user = |text: String| UserId::parse(text).map_err(|_| bad("not a user id"));
        let content = event.get("content").and_then(Value::as_object);
        let content = content.ok_or_else(|| bad("`content` is missing"))?;
        if text(content, "membership")? != "invite" {
            return Err(bad("the event is no invite"));
        }
        let invite = content.get("third_party_invite").and_then(Value::as_object);
        let signed = invite.and_then(|invite| invite.get("signed")?.as_object());
        let signed = signed.ok_or_else(|| bad("`third_party_invite` has no `signed`"))?;
        Ok(Self {
            sender: user(text(&event, "sender")?)?,
            target: user(text(&event, "state_key")?)?,
            token: text(signed, "token")?,
            signed: signed.clone(),
        })
    }
}
