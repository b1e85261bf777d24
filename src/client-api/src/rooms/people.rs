//! The directory of users.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use hearth_rooms::{Person, Rooms};
use ruma::api::client::user_directory::search_users;
use serde_json::{Value, json};

use super::answer;
use super::error::rooms_error;
use crate::unparsed::Unparsed;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
{
    route::<search_users::v3::Request, _, _, _>(Router::new(), search)
}

/// POST /_matrix/client/v3/user_directory/search
async fn search(
    State(rooms): State<Rooms>,
    request: Ruma<Unparsed<search_users::v3::Request>>,
) -> Result<RawJson, ApiError> {
    let asking = &request.caller()?.user;
    let asked = request.body.parse(&request.json)?;
    // ruma has a default for the limit, which is ours as well.
    let limit = Some(u64::from(asked.limit));
    let people = rooms.find_people(asking, &asked.search_term, limit).await;
    let people = people.map_err(rooms_error)?;
    let results: Vec<Value> = people.found.iter().map(shown).collect();
    Ok(answer(
        &json!({ "results": results, "limited": people.is_limited }),
    ))
}

fn shown(person: &Person) -> Value {
    let mut shown = json!({ "user_id": person.user_id });
    if let Some(name) = &person.displayname {
        shown["display_name"] = name.as_str().into();
    }
    if let Some(avatar) = &person.avatar_url {
        shown["avatar_url"] = avatar.as_str().into();
    }
    shown
}
