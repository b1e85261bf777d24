//! Joining a room into which one was invited by an address (client-server API, "Third-party invites").
//!
//! The room holds `m.room.third_party_invite` with the key of an identity server, which signs who the address belongs
//! to. Whoever joins with that signature is first invited by it, in the name of the user who invited the address: that
//! user has to be one of this server, for whom alone it can write.

use hearth_event::Draft;
use hearth_event::canonical::{Object, Value};
use ruma::UserId;
use ruma::events::room::member::MembershipState;

use crate::membership::{member, with_profile};
use crate::stage::Stage;
use crate::{Error, Result, content};

const KIND: &str = "m.room.third_party_invite";

/// Invites a user by what an identity server signed, unless she is invited or in the room. Whether the signature is
/// good is a question of the room's rules.
pub(crate) async fn invite(stage: &mut Stage<'_>, user: &UserId, signed: &Object) -> Result<()> {
    use MembershipState::{Ban, Invite, Join};
    if matches!(stage.view.membership(user), Some(Ban | Invite | Join)) {
        return Ok(());
    }
    let token = signed.get("token").and_then(Value::as_str);
    let token = token.ok_or(Error::BadContent("`third_party_signed` has no token"))?;
    stage.load(&[(KIND, token)]).await?;
    let issued = stage.view.pdu(KIND, token).cloned();
    let issued = issued.ok_or(Error::Refused("there is no such invite"))?;
    let inviter = issued.sender().to_owned();
    if !stage.inner.is_local(&inviter) {
        return Err(Error::RemoteUnavailable);
    }
    let mut invite = Object::from([("signed".to_owned(), Value::Object(signed.clone()))]);
    if let Some(name) = content::text(&issued, "display_name") {
        invite.insert("display_name".to_owned(), name.into());
    }
    let mut content = with_profile(stage, user, member(Invite)).await?;
    content.insert("third_party_invite".to_owned(), Value::Object(invite));
    let draft = Draft {
        sender: inviter,
        kind: "m.room.member".to_owned(),
        state_key: Some(user.to_string()),
        content: content::raw(&content)?,
        redacts: None,
    };
    stage.write(&draft, None).await?;
    Ok(())
}
