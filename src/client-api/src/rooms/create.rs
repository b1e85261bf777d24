//! Making and upgrading rooms.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_appservice::AppServices;
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use hearth_rooms::{Error, InitialState, NewRoom, Preset, Publish, Rooms, Upgrade};
use http::StatusCode;
use ruma::RoomAliasId;
use ruma::api::client::room::create_room::v3::RoomPreset;
use ruma::api::client::room::{Visibility, create_room, upgrade_room};
use ruma::events::AnyInitialStateEvent;
use ruma::serde::Raw;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::error::rooms_error;
use super::services::check_alias;
use super::{active, answer};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
    AppServices: FromRef<S>,
{
    let router = route::<create_room::v3::Request, _, _, _>(Router::new(), create);
    route::<upgrade_room::v3::Request, _, _, _>(router, upgrade)
}

/// POST /_matrix/client/v3/createRoom
async fn create(
    State(rooms): State<Rooms>,
    State(services): State<AppServices>,
    request: Ruma<create_room::v3::Request>,
) -> Result<RawJson, ApiError> {
    let caller = active(&request)?;
    let creator = caller.user.clone();
    if let Some(localpart) = &request.body.room_alias_name {
        let alias = format!("#{localpart}:{}", creator.server_name());
        // One that is not well-formed is refused below.
        if let Ok(alias) = RoomAliasId::parse(alias) {
            check_alias(&services, &alias, caller)?;
        }
    }
    let room = new_room(request.body)?;
    let made = rooms.create(&creator, room).await;
    let room_id = made.map_err(|error| match error {
        Error::AliasTaken => ApiError::new(
            StatusCode::BAD_REQUEST,
            "M_ROOM_IN_USE",
            "The alias is in use",
        ),
        error => rooms_error(error),
    })?;
    Ok(answer(&json!({ "room_id": room_id })))
}

/// POST /_matrix/client/v3/rooms/{roomId}/upgrade
async fn upgrade(
    State(rooms): State<Rooms>,
    request: Ruma<upgrade_room::v3::Request>,
) -> Result<RawJson, ApiError> {
    let user = &active(&request)?.user;
    let upgrade = Upgrade {
        version: request.body.new_version.to_string(),
        additional_creators: request.body.additional_creators.clone(),
    };
    let upgraded = rooms.upgrade(user, &request.body.room_id, &upgrade).await;
    let replacement = upgraded.map_err(rooms_error)?;
    Ok(answer(&json!({ "replacement_room": replacement })))
}

fn new_room(body: create_room::v3::Request) -> Result<NewRoom, ApiError> {
    if !body.invite_3pid.is_empty() {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "M_THREEPID_DENIED",
            "This server invites by user id only",
        ));
    }
    let preset = body.preset.map(preset).transpose()?;
    let initial_state = body.initial_state.iter().map(initial_state);
    Ok(NewRoom {
        version: body.room_version.map(|version| version.to_string()),
        preset,
        publish: publish(&body.visibility)?,
        alias_localpart: body.room_alias_name,
        name: body.name,
        topic: body.topic,
        invite: body.invite,
        is_direct: body.is_direct,
        creation_content: body.creation_content.map(Raw::into_json),
        initial_state: initial_state.collect::<Result<_, _>>()?,
        power_levels: body.power_level_content_override.map(Raw::into_json),
        kind: None,
    })
}

fn preset(preset: RoomPreset) -> Result<Preset, ApiError> {
    match preset {
        RoomPreset::PrivateChat => Ok(Preset::PrivateChat),
        RoomPreset::TrustedPrivateChat => Ok(Preset::TrustedPrivateChat),
        RoomPreset::PublicChat => Ok(Preset::PublicChat),
        _ => Err(ApiError::bad_json("`preset` has an unknown value")),
    }
}

pub(super) fn publish(visibility: &Visibility) -> Result<Publish, ApiError> {
    match visibility {
        Visibility::Public => Ok(Publish::Public),
        Visibility::Private => Ok(Publish::Private),
        _ => Err(ApiError::bad_json("`visibility` has an unknown value")),
    }
}

fn initial_state(event: &Raw<AnyInitialStateEvent>) -> Result<InitialState, ApiError> {
    #[derive(Deserialize)]
    struct Fields {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        state_key: String,
        content: Box<RawValue>,
    }
    let fields: Fields = serde_json::from_str(event.json().get())
        .map_err(|error| ApiError::bad_json(format!("`initial_state`: {error}")))?;
    Ok(InitialState {
        kind: fields.kind,
        state_key: fields.state_key,
        content: fields.content,
    })
}
