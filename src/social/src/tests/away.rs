//! Other servers that count invites, and after a while turn out not to be there.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hearth_ports::remote::{
    AliasAnswer, At, Children, FoundAt, Invite, JoinAnswer, MakeMember, Members, MissingEvents,
    RemoteError, RemoteResult, SendMember, SpaceAnswer, StateEvents, StateIds, Template, Untrusted,
};
use hearth_ports::{BoxFuture, Remote};
use hearth_rooms::remote::NoRemote;
use ruma::{EventId, OwnedEventId, RoomAliasId, RoomId, ServerName};
use serde_json::value::RawValue;

/// How often others may go on before an invite fails.
const TURNS: usize = 2_000;

#[derive(Debug, Default)]
pub(super) struct Away {
    /// How many invites were sent.
    pub(super) invites: AtomicUsize,
    /// Whether invites are taken.
    pub(super) is_there: AtomicBool,
    /// How often it was asked to let somebody in, which it never does.
    pub(super) joins: AtomicUsize,
}

impl Remote for Away {
    fn make_member<'a>(
        &'a self,
        server: &'a ServerName,
        what: MakeMember<'a>,
    ) -> BoxFuture<'a, RemoteResult<Template>> {
        self.joins.fetch_add(1, Ordering::Relaxed);
        NoRemote.make_member(server, what)
    }
    fn send_join<'a>(
        &'a self,
        server: &'a ServerName,
        what: SendMember<'a>,
        more: Members,
    ) -> BoxFuture<'a, RemoteResult<JoinAnswer>> {
        NoRemote.send_join(server, what, more)
    }
    fn send_leave<'a>(
        &'a self,
        server: &'a ServerName,
        what: SendMember<'a>,
    ) -> BoxFuture<'a, RemoteResult<()>> {
        NoRemote.send_leave(server, what)
    }
    fn send_knock<'a>(
        &'a self,
        server: &'a ServerName,
        what: SendMember<'a>,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        NoRemote.send_knock(server, what)
    }
    fn invite<'a>(
        &'a self,
        _: &'a ServerName,
        invite: Invite<'a>,
    ) -> BoxFuture<'a, RemoteResult<Untrusted>> {
        self.invites.fetch_add(1, Ordering::Relaxed);
        if self.is_there.load(Ordering::Relaxed) {
            let event = invite.event.to_owned();
            return Box::pin(async { Ok(event) });
        }
        Box::pin(async {
            // Long enough for everybody who may send another one.
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            Err(RemoteError::unreachable("away"))
        })
    }
    fn policy_sign<'a>(
        &'a self,
        server: &'a ServerName,
        event: &'a RawValue,
    ) -> BoxFuture<'a, RemoteResult<Untrusted>> {
        NoRemote.policy_sign(server, event)
    }
    fn exchange_third_party_invite<'a>(
        &'a self,
        server: &'a ServerName,
        what: &'a RoomId,
        more: &'a RawValue,
    ) -> BoxFuture<'a, RemoteResult<()>> {
        NoRemote.exchange_third_party_invite(server, what, more)
    }
    fn state_ids<'a>(
        &'a self,
        server: &'a ServerName,
        what: &'a RoomId,
        more: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<StateIds>> {
        NoRemote.state_ids(server, what, more)
    }
    fn state<'a>(
        &'a self,
        server: &'a ServerName,
        what: &'a RoomId,
        more: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<StateEvents>> {
        NoRemote.state(server, what, more)
    }
    fn event<'a>(
        &'a self,
        server: &'a ServerName,
        what: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<Untrusted>> {
        NoRemote.event(server, what)
    }
    fn event_auth<'a>(
        &'a self,
        server: &'a ServerName,
        what: &'a RoomId,
        more: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        NoRemote.event_auth(server, what, more)
    }
    fn backfill<'a>(
        &'a self,
        server: &'a ServerName,
        what: &'a RoomId,
        more: &'a [OwnedEventId],
        rest: usize,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        NoRemote.backfill(server, what, more, rest)
    }
    fn missing_events<'a>(
        &'a self,
        server: &'a ServerName,
        what: &'a RoomId,
        more: &'a MissingEvents,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        NoRemote.missing_events(server, what, more)
    }
    fn timestamp_to_event<'a>(
        &'a self,
        server: &'a ServerName,
        what: &'a RoomId,
        more: At,
    ) -> BoxFuture<'a, RemoteResult<FoundAt>> {
        NoRemote.timestamp_to_event(server, what, more)
    }
    fn alias<'a>(
        &'a self,
        server: &'a ServerName,
        what: &'a RoomAliasId,
    ) -> BoxFuture<'a, RemoteResult<AliasAnswer>> {
        NoRemote.alias(server, what)
    }
    fn hierarchy<'a>(
        &'a self,
        server: &'a ServerName,
        what: &'a RoomId,
        more: Children,
    ) -> BoxFuture<'a, RemoteResult<SpaceAnswer>> {
        NoRemote.hierarchy(server, what, more)
    }
}
