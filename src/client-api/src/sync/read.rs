//! GET `/messages`, `/event`, `/context`, `/relations`, `/threads` and `/timestamp_to_event` of a room.

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRef, Query, State};
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use hearth_sync::ask::{
    ContextAsk, Direction, EventAsk, MessagesAsk, Page, RelationDepth, RelationsAsk, ThreadsAsk,
    ThreadsIncluded, TimestampAsk,
};
use hearth_types::Caller;
use ruma::OwnedRoomId;
use ruma::api::client::context::get_context;
use ruma::api::client::message::get_message_events;
use ruma::api::client::relations::{
    get_relating_events as related, get_relating_events_with_rel_type as related_by,
    get_relating_events_with_rel_type_and_event_type as related_by_both,
};
use ruma::api::client::room::{get_event_by_timestamp, get_room_event};
use ruma::api::client::threads::get_threads;
use serde::Deserialize;

use super::error::api_error;
use super::{direction, reader, token};
use crate::unparsed::Unparsed;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    hearth_sync::Sync: FromRef<S>,
{
    let router = route::<get_message_events::v3::Request, _, _, _>(Router::new(), messages);
    let router = route::<get_room_event::v3::Request, _, _, _>(router, event);
    let router = route::<get_context::v3::Request, _, _, _>(router, context);
    let router = route::<related::v1::Request, _, _, _>(router, relations);
    let router = route::<related_by::v1::Request, _, _, _>(router, relations_by_type);
    let router = route::<related_by_both::v1::Request, _, _, _>(router, relations_by_both);
    let router = route::<get_threads::v1::Request, _, _, _>(router, threads);
    route::<get_event_by_timestamp::v1::Request, _, _, _>(router, timestamp_to_event)
}

/// Stands for any type in the longest form of the request for relations.
const ANY: &str = "";

/// Parameters as they were written: ruma fills in defaults and drops what it does not know of.
#[derive(Deserialize)]
struct Written {
    limit: Option<String>,
    filter: Option<String>,
}

type WrittenQuery = Result<Query<Written>, QueryRejection>;

impl Written {
    fn of(query: WrittenQuery) -> Result<Self, ApiError> {
        match query {
            Ok(Query(written)) => Ok(written),
            Err(error) => Err(ApiError::invalid_param(error.body_text())),
        }
    }

    /// The limit, which ruma has found to be a number.
    fn limit(&self) -> Option<u64> {
        self.limit.as_ref()?.parse().ok()
    }
}

/// GET `/_matrix/client/v3/rooms/{roomId}/messages`. Who may not look into the room is told so, whatever else is
/// wrong with the request.
async fn messages(
    State(sync): State<hearth_sync::Sync>,
    query: WrittenQuery,
    request: Ruma<Unparsed<get_message_events::v3::Request>>,
) -> Result<RawJson, ApiError> {
    let asked = request.body.parse(&request.json);
    if asked.is_err() {
        may_look(&sync, request.caller()?, request.body.path(0)?).await?;
    }
    let asked = asked?;
    let written = Written::of(query)?;
    let reader = reader(request.caller()?);
    let limit = written.limit();
    let ask = MessagesAsk {
        reader,
        page: Page {
            from: token(asked.from.as_deref())?,
            to: token(asked.to.as_deref())?,
            direction: direction(asked.dir),
            limit,
        },
        room_id: asked.room_id,
        filter: written.filter,
    };
    sync.messages(ask).await.map(RawJson).map_err(api_error)
}

/// Whether the caller may look into a room at all.
async fn may_look(
    sync: &hearth_sync::Sync,
    caller: &Caller,
    room_id: OwnedRoomId,
) -> Result<(), ApiError> {
    let ask = MessagesAsk {
        reader: reader(caller),
        page: Page {
            from: None,
            to: None,
            direction: Direction::Backward,
            limit: Some(0),
        },
        room_id,
        filter: None,
    };
    sync.messages(ask).await.map(drop).map_err(api_error)
}

/// GET `/_matrix/client/v3/rooms/{roomId}/event/{eventId}`
async fn event(
    State(sync): State<hearth_sync::Sync>,
    request: Ruma<get_room_event::v3::Request>,
) -> Result<RawJson, ApiError> {
    let ask = EventAsk {
        reader: reader(request.caller()?),
        room_id: Some(request.body.room_id),
        event_id: request.body.event_id,
    };
    sync.event(ask).await.map(RawJson).map_err(api_error)
}

/// GET `/_matrix/client/v3/rooms/{roomId}/context/{eventId}`
async fn context(
    State(sync): State<hearth_sync::Sync>,
    query: WrittenQuery,
    request: Ruma<get_context::v3::Request>,
) -> Result<RawJson, ApiError> {
    let written = Written::of(query)?;
    let ask = ContextAsk {
        reader: reader(request.caller()?),
        limit: written.limit(),
        room_id: request.body.room_id,
        event_id: request.body.event_id,
        filter: written.filter,
    };
    sync.context(ask).await.map(RawJson).map_err(api_error)
}

/// GET `/_matrix/client/v1/rooms/{roomId}/relations/{eventId}`
async fn relations(
    State(sync): State<hearth_sync::Sync>,
    request: Ruma<related::v1::Request>,
) -> Result<RawJson, ApiError> {
    let caller = request.caller()?.clone();
    let body = request.body;
    let mut all =
        related_by_both::v1::Request::new(body.room_id, body.event_id, ANY.into(), ANY.into());
    (all.from, all.to, all.dir) = (body.from, body.to, body.dir);
    (all.limit, all.recurse) = (body.limit, body.recurse);
    related_events(&sync, &caller, all).await
}

/// GET `/_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}`
async fn relations_by_type(
    State(sync): State<hearth_sync::Sync>,
    request: Ruma<related_by::v1::Request>,
) -> Result<RawJson, ApiError> {
    let caller = request.caller()?.clone();
    let body = request.body;
    let mut all =
        related_by_both::v1::Request::new(body.room_id, body.event_id, body.rel_type, ANY.into());
    (all.from, all.to, all.dir) = (body.from, body.to, body.dir);
    (all.limit, all.recurse) = (body.limit, body.recurse);
    related_events(&sync, &caller, all).await
}

/// GET `/_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}`
async fn relations_by_both(
    State(sync): State<hearth_sync::Sync>,
    request: Ruma<related_by_both::v1::Request>,
) -> Result<RawJson, ApiError> {
    let caller = request.caller()?.clone();
    related_events(&sync, &caller, request.body).await
}

/// All three forms.
async fn related_events(
    sync: &hearth_sync::Sync,
    caller: &Caller,
    body: related_by_both::v1::Request,
) -> Result<RawJson, ApiError> {
    let given = |text: String| Some(text).filter(|text| text != ANY);
    let ask = RelationsAsk {
        reader: reader(caller),
        page: Page {
            from: token(body.from.as_deref())?,
            to: token(body.to.as_deref())?,
            direction: direction(body.dir),
            limit: body.limit.map(u64::from),
        },
        depth: match body.recurse {
            true => RelationDepth::Recursive,
            false => RelationDepth::Direct,
        },
        rel_type: given(body.rel_type.to_string()),
        event_type: given(body.event_type.to_string()),
        room_id: body.room_id,
        event_id: body.event_id,
    };
    sync.relations(ask).await.map(RawJson).map_err(api_error)
}

/// GET `/_matrix/client/v1/rooms/{roomId}/threads`
async fn threads(
    State(sync): State<hearth_sync::Sync>,
    request: Ruma<get_threads::v1::Request>,
) -> Result<RawJson, ApiError> {
    let ask = ThreadsAsk {
        reader: reader(request.caller()?),
        include: match request.body.include {
            get_threads::v1::IncludeThreads::Participated => ThreadsIncluded::Participated,
            _ => ThreadsIncluded::All,
        },
        from: token(request.body.from.as_deref())?,
        limit: request.body.limit.map(u64::from),
        room_id: request.body.room_id,
    };
    sync.threads(ask).await.map(RawJson).map_err(api_error)
}

/// GET `/_matrix/client/v1/rooms/{roomId}/timestamp_to_event`
async fn timestamp_to_event(
    State(sync): State<hearth_sync::Sync>,
    request: Ruma<get_event_by_timestamp::v1::Request>,
) -> Result<RawJson, ApiError> {
    let ask = TimestampAsk {
        reader: reader(request.caller()?),
        ts: request.body.ts.0.into(),
        direction: direction(request.body.dir),
        room_id: request.body.room_id,
    };
    sync.timestamp_to_event(ask)
        .await
        .map(RawJson)
        .map_err(api_error)
}
