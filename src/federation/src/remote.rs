//! What `rooms` asks of other servers.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use hearth_ports::BoxFuture;
use hearth_ports::remote::{
    AliasAnswer, At, Children, Direction, FoundAt, Invite, JoinAnswer, MakeMember, MemberKind,
    Members, MissingEvents, Refusal, Remote, RemoteError, RemoteResult, SendMember, SpaceAnswer,
    StateEvents, StateIds, Template, Untrusted,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedServerName, RoomAliasId, RoomId, ServerName};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::{Ask, Client, Error};

/// Characters that need no encoding in a path or query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Largest state of a room that is read, in bytes.
const STATE_BYTES_MAX: u64 = 256 << 20;
/// How long the answer to a join, or a state, may take.
const STATE_TIME_MAX: Duration = Duration::from_secs(120);
/// Largest answer of few events, in bytes: 100 of the largest, with room for escapes.
const EVENTS_BYTES_MAX: u64 = 16 << 20;

/// Largest answer about a space and its children, in bytes.
const SPACE_BYTES_MAX: u64 = 4 << 20;
/// How long it may take: somebody waits for the tree of which it is a part.
const SPACE_TIME_MAX: Duration = Duration::from_secs(10);

/// Text as part of a path or query.
pub(crate) fn encoded(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, PLAIN)
}

impl Client {
    async fn asked<T: DeserializeOwned>(&self, server: &ServerName, ask: Ask) -> RemoteResult<T> {
        self.json(server, ask).await.map_err(remote_error)
    }
}

/// A path of the version 1 API of which the last parts are ids.
fn v1(endpoint: &str, ids: &[&str]) -> String {
    path("v1", endpoint, ids)
}

fn path(version: &str, endpoint: &str, ids: &[&str]) -> String {
    let mut path = format!("/_matrix/federation/{version}/{endpoint}");
    for id in ids {
        // Writing to a string does not fail.
        let _ = write!(path, "/{}", encoded(id));
    }
    path
}

fn large(ask: Ask) -> Ask {
    Ask {
        bytes_max: STATE_BYTES_MAX,
        time_max: STATE_TIME_MAX,
        ..ask
    }
}

fn few(ask: Ask) -> Ask {
    Ask {
        bytes_max: EVENTS_BYTES_MAX,
        ..ask
    }
}

/// An error as `rooms` distinguishes them.
fn remote_error(error: Error) -> RemoteError {
    match error {
        Error::Malformed { what, .. } => RemoteError::Malformed(what),
        Error::Refused {
            status,
            errcode,
            message,
            room_version,
            ..
        } if status < 500 && status != 429 => RemoteError::Refused {
            reason: refusal(status, &errcode, room_version),
            message,
        },
        error => RemoteError::unreachable(error),
    }
}

fn refusal(status: u16, errcode: &str, room_version: Option<String>) -> Refusal {
    match (errcode, status) {
        ("M_INCOMPATIBLE_ROOM_VERSION", _) => {
            Refusal::IncompatibleVersion(room_version.unwrap_or_default())
        }
        ("M_UNABLE_TO_AUTHORISE_JOIN", _) => Refusal::CannotAuthorise,
        ("M_UNABLE_TO_GRANT_JOIN", _) => Refusal::CannotGrant,
        ("M_UNRECOGNIZED", _) => Refusal::NoEndpoint,
        (_, 403) => Refusal::Forbidden,
        ("M_NOT_FOUND", _) | ("", 404) => Refusal::NotFound,
        // What other servers answer for paths that they do not have.
        (_, 404 | 405) => Refusal::NotFound,
        _ => Refusal::Other,
    }
}

#[derive(Deserialize)]
struct TemplateBody {
    room_version: Option<String>,
    event: Untrusted,
}

#[derive(Deserialize)]
struct JoinBody {
    #[serde(default)]
    state: Vec<Untrusted>,
    #[serde(default)]
    auth_chain: Vec<Untrusted>,
    event: Option<Untrusted>,
    #[serde(default)]
    members_omitted: bool,
    servers_in_room: Option<Vec<OwnedServerName>>,
}

#[derive(Deserialize)]
struct KnockBody {
    #[serde(default)]
    knock_room_state: Vec<Untrusted>,
}

#[derive(Deserialize)]
struct EventBody {
    event: Untrusted,
}

#[derive(Deserialize)]
struct StateIdsBody {
    pdu_ids: Vec<OwnedEventId>,
    auth_chain_ids: Vec<OwnedEventId>,
}

#[derive(Deserialize)]
struct StateBody<'a> {
    #[serde(borrow)]
    pdus: Vec<&'a RawValue>,
    #[serde(borrow)]
    auth_chain: Vec<&'a RawValue>,
}

/// The texts of events as parts of the answer that they are in.
fn parts(body: &Bytes, events: &[&RawValue]) -> Vec<Bytes> {
    let part = |event: &&RawValue| body.slice_ref(event.get().as_bytes());
    events.iter().map(part).collect()
}

#[derive(Deserialize)]
struct EventsBody {
    #[serde(default)]
    pdus: Vec<Untrusted>,
    #[serde(default)]
    auth_chain: Vec<Untrusted>,
    #[serde(default)]
    events: Vec<Untrusted>,
}

#[derive(Deserialize)]
struct FoundBody {
    event_id: OwnedEventId,
    origin_server_ts: u64,
}

#[derive(Deserialize)]
struct AliasBody {
    room_id: OwnedRoomId,
    #[serde(default)]
    servers: Vec<OwnedServerName>,
}

#[derive(Deserialize)]
struct SpaceBody {
    room: Untrusted,
    #[serde(default)]
    children: Vec<Untrusted>,
    #[serde(default)]
    inaccessible_children: Vec<OwnedRoomId>,
}

impl Remote for Client {
    fn make_member<'a>(
        &'a self,
        server: &'a ServerName,
        ask: MakeMember<'a>,
    ) -> BoxFuture<'a, RemoteResult<Template>> {
        Box::pin(async move {
            let endpoint = format!("make_{}", ask.kind.as_str());
            let mut uri = v1(&endpoint, &[ask.room_id.as_str(), ask.user.as_str()]);
            if ask.kind != MemberKind::Leave {
                for (index, version) in ask.versions.iter().enumerate() {
                    let sign = if index == 0 { '?' } else { '&' };
                    let _ = write!(uri, "{sign}ver={}", encoded(version));
                }
            }
            let body: TemplateBody = self.asked(server, Ask::get(uri)).await?;
            Ok(Template {
                room_version: body.room_version,
                event: body.event,
            })
        })
    }

    fn send_join<'a>(
        &'a self,
        server: &'a ServerName,
        event: SendMember<'a>,
        members: Members,
    ) -> BoxFuture<'a, RemoteResult<JoinAnswer>> {
        Box::pin(async move {
            let ids = [event.room_id.as_str(), event.event_id.as_str()];
            let mut uri = path("v2", "send_join", &ids);
            if members == Members::Omit {
                uri.push_str("?omit_members=true");
            }
            let ask = large(Ask::put(uri, event.event.get().to_owned()));
            let body: JoinBody = self.asked(server, ask).await?;
            Ok(JoinAnswer {
                state: body.state,
                auth_chain: body.auth_chain,
                event: body.event,
                members_omitted: body.members_omitted,
                servers_in_room: body.servers_in_room.unwrap_or_default(),
            })
        })
    }

    fn send_leave<'a>(
        &'a self,
        server: &'a ServerName,
        event: SendMember<'a>,
    ) -> BoxFuture<'a, RemoteResult<()>> {
        Box::pin(async move {
            let ids = [event.room_id.as_str(), event.event_id.as_str()];
            let uri = path("v2", "send_leave", &ids);
            let ask = Ask::put(uri, event.event.get().to_owned());
            self.ask(server, ask).await.map_err(remote_error)?;
            Ok(())
        })
    }

    fn send_knock<'a>(
        &'a self,
        server: &'a ServerName,
        event: SendMember<'a>,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        Box::pin(async move {
            let ids = [event.room_id.as_str(), event.event_id.as_str()];
            let ask = Ask::put(v1("send_knock", &ids), event.event.get().to_owned());
            let body: KnockBody = self.asked(server, few(ask)).await?;
            Ok(body.knock_room_state)
        })
    }

    fn invite<'a>(
        &'a self,
        server: &'a ServerName,
        invite: Invite<'a>,
    ) -> BoxFuture<'a, RemoteResult<Untrusted>> {
        Box::pin(async move {
            let ids = [invite.room_id.as_str(), invite.event_id.as_str()];
            let body = serde_json::json!({
                "room_version": invite.room_version,
                "event": invite.event,
                "invite_room_state": invite.state,
            });
            let ask = Ask::put(path("v2", "invite", &ids), body.to_string());
            let answer: RemoteResult<EventBody> = self.asked(server, few(ask)).await;
            let is_old = matches!(
                &answer,
                Err(RemoteError::Refused {
                    reason: Refusal::NoEndpoint,
                    ..
                })
            );
            // Version 1 knows only rooms of these versions.
            if !is_old || !matches!(invite.room_version, "1" | "2") {
                return Ok(answer?.event);
            }
            let ask = Ask::put(v1("invite", &ids), invite.event.get().to_owned());
            let (_, body): (u16, EventBody) = self.asked(server, few(ask)).await?;
            Ok(body.event)
        })
    }

    fn policy_sign<'a>(
        &'a self,
        server: &'a ServerName,
        event: &'a RawValue,
    ) -> BoxFuture<'a, RemoteResult<Untrusted>> {
        Box::pin(async move {
            let ask = Ask::post("/_matrix/policy/v1/sign".to_owned(), event.get().to_owned());
            self.asked(server, few(ask)).await
        })
    }

    fn exchange_third_party_invite<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event: &'a RawValue,
    ) -> BoxFuture<'a, RemoteResult<()>> {
        Box::pin(async move {
            let uri = v1("exchange_third_party_invite", &[room_id.as_str()]);
            let ask = Ask::put(uri, event.get().to_owned());
            self.ask(server, ask).await.map_err(remote_error)?;
            Ok(())
        })
    }

    fn state_ids<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event_id: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<StateIds>> {
        Box::pin(async move {
            let uri = at_event("state_ids", room_id, event_id);
            let body: StateIdsBody = self.asked(server, large(Ask::get(uri))).await?;
            Ok(StateIds {
                state: body.pdu_ids,
                auth_chain: body.auth_chain_ids,
            })
        })
    }

    fn state<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event_id: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<StateEvents>> {
        Box::pin(async move {
            let uri = at_event("state", room_id, event_id);
            let answer = self.ask(server, large(Ask::get(uri))).await;
            let body = answer.map_err(remote_error)?.body;
            let read: StateBody<'_> = serde_json::from_slice(&body)
                .map_err(|error| RemoteError::Malformed(error.to_string()))?;
            Ok(StateEvents {
                state: parts(&body, &read.pdus),
                auth_chain: parts(&body, &read.auth_chain),
            })
        })
    }

    fn event<'a>(
        &'a self,
        server: &'a ServerName,
        event_id: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<Untrusted>> {
        Box::pin(async move {
            let ask = few(Ask::get(v1("event", &[event_id.as_str()])));
            let body: EventsBody = self.asked(server, ask).await?;
            body.pdus
                .into_iter()
                .next()
                .ok_or_else(|| RemoteError::Malformed("there is no event in it".to_owned()))
        })
    }

    fn event_auth<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event_id: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        Box::pin(async move {
            let uri = v1("event_auth", &[room_id.as_str(), event_id.as_str()]);
            let body: EventsBody = self.asked(server, large(Ask::get(uri))).await?;
            Ok(body.auth_chain)
        })
    }

    fn backfill<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        from: &'a [OwnedEventId],
        limit: usize,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        Box::pin(async move {
            let mut uri = v1("backfill", &[room_id.as_str()]);
            let _ = write!(uri, "?limit={limit}");
            for event_id in from {
                let _ = write!(uri, "&v={}", encoded(event_id.as_str()));
            }
            let body: EventsBody = self.asked(server, few(Ask::get(uri))).await?;
            Ok(body.pdus)
        })
    }

    fn missing_events<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        ask: &'a MissingEvents,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        Box::pin(async move {
            let body = serde_json::json!({
                "earliest_events": ask.earliest,
                "latest_events": ask.latest,
                "limit": ask.limit,
                "min_depth": ask.min_depth,
            });
            let uri = v1("get_missing_events", &[room_id.as_str()]);
            let ask = few(Ask::post(uri, body.to_string()));
            let body: EventsBody = self.asked(server, ask).await?;
            Ok(body.events)
        })
    }

    fn timestamp_to_event<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        at: At,
    ) -> BoxFuture<'a, RemoteResult<FoundAt>> {
        Box::pin(async move {
            let direction = match at.direction {
                Direction::Forward => 'f',
                Direction::Backward => 'b',
            };
            let mut uri = v1("timestamp_to_event", &[room_id.as_str()]);
            let _ = write!(uri, "?ts={}&dir={direction}", at.ts);
            let body: FoundBody = self.asked(server, Ask::get(uri)).await?;
            Ok(FoundAt {
                event_id: body.event_id,
                ts: body.origin_server_ts,
            })
        })
    }

    fn alias<'a>(
        &'a self,
        server: &'a ServerName,
        alias: &'a RoomAliasId,
    ) -> BoxFuture<'a, RemoteResult<AliasAnswer>> {
        Box::pin(async move {
            let mut uri = v1("query/directory", &[]);
            let _ = write!(uri, "?room_alias={}", encoded(alias.as_str()));
            let body: AliasBody = self.asked(server, Ask::get(uri)).await?;
            Ok(AliasAnswer {
                room_id: body.room_id,
                servers: body.servers,
            })
        })
    }

    fn hierarchy<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        children: Children,
    ) -> BoxFuture<'a, RemoteResult<SpaceAnswer>> {
        Box::pin(async move {
            let mut uri = v1("hierarchy", &[room_id.as_str()]);
            let suggested = children == Children::Suggested;
            let _ = write!(uri, "?suggested_only={suggested}");
            let ask = Ask {
                bytes_max: SPACE_BYTES_MAX,
                time_max: SPACE_TIME_MAX,
                ..Ask::get(uri)
            };
            let body: SpaceBody = self.asked(server, ask).await?;
            Ok(SpaceAnswer {
                room: body.room,
                children: body.children,
                inaccessible: body.inaccessible_children,
            })
        })
    }
}

fn at_event(endpoint: &str, room_id: &RoomId, event_id: &EventId) -> String {
    let mut uri = v1(endpoint, &[room_id.as_str()]);
    let _ = write!(uri, "?event_id={}", encoded(event_id.as_str()));
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Here, Others, name};

    #[tokio::test]
    async fn ids_are_encoded_in_paths_and_queries() {
        let here = Here::new(Others::new(|_| {
            Some((200, r#"{"pdu_ids":["$x"],"auth_chain_ids":[]}"#.to_owned()))
        }));
        let room = RoomId::parse("!r/?:a.example").unwrap();
        let event = EventId::parse("$a+b/c").unwrap();
        let server = name("a.example:1");
        let ids = here.client.state_ids(&server, &room, &event).await.unwrap();
        assert_eq!(ids.state.len(), 1);
        let seen = here.others.seen().pop().unwrap();
        assert_eq!(
            seen.uri,
            "/_matrix/federation/v1/state_ids/%21r%2F%3F%3Aa.example?event_id=%24a%2Bb%2Fc"
        );
    }

    #[tokio::test]
    async fn a_state_that_is_left_out_is_not_taken_for_an_empty_one() {
        let here = Here::new(Others::new(|_| Some((200, "{}".to_owned()))));
        let room = RoomId::parse("!r:a.example").unwrap();
        let event = EventId::parse("$a").unwrap();
        let server = name("a.example:1");
        let ids = here.client.state_ids(&server, &room, &event).await;
        assert!(matches!(ids, Err(RemoteError::Malformed(_))), "{ids:?}");
        let events = here.client.state(&server, &room, &event).await;
        assert!(matches!(events, Err(RemoteError::Malformed(_))));
    }

    #[tokio::test]
    async fn refusals_are_told_apart() {
        for (status, body, expected) in [
            (403, "{}", Refusal::Forbidden),
            (404, r#"{"errcode":"M_NOT_FOUND"}"#, Refusal::NotFound),
            (404, r#"{"errcode":"M_UNRECOGNIZED"}"#, Refusal::NoEndpoint),
            (
                400,
                r#"{"errcode":"M_UNABLE_TO_GRANT_JOIN"}"#,
                Refusal::CannotGrant,
            ),
            (
                400,
                r#"{"errcode":"M_INCOMPATIBLE_ROOM_VERSION","room_version":"99"}"#,
                Refusal::IncompatibleVersion("99".to_owned()),
            ),
            (400, "no json", Refusal::Other),
        ] {
            let here = Here::new(Others::new(move |_| Some((status, body.to_owned()))));
            let event = EventId::parse("$a").unwrap();
            let error = here.client.event(&name("a.example:1"), &event).await;
            match error.unwrap_err() {
                RemoteError::Refused { reason, .. } => assert_eq!(reason, expected),
                other => panic!("{body}: {other:?}"),
            }
        }
        let here = Here::new(Others::new(|_| Some((502, String::new()))));
        let event = EventId::parse("$a").unwrap();
        let error = here.client.event(&name("a.example:1"), &event).await;
        assert!(matches!(error, Err(RemoteError::Unreachable(_))));
    }
}
