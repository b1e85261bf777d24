//! A server without others.

use hearth_ports::remote::{
    AliasAnswer, At, Children, FoundAt, Invite, JoinAnswer, MakeMember, Members, MissingEvents,
    RemoteError, RemoteResult, SendMember, SpaceAnswer, StateEvents, StateIds, Template, Untrusted,
};
use hearth_ports::{BoxFuture, KeySet, Keys, Remote, WantedKey};
use ruma::{EventId, OwnedEventId, RoomAliasId, RoomId, ServerName};
use serde_json::value::RawValue;

/// Reaches nobody and knows nobody's keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRemote;

fn nobody<'a, T: Send + 'a>() -> BoxFuture<'a, RemoteResult<T>> {
    Box::pin(async { Err(RemoteError::unreachable("this server talks to no other")) })
}

impl Keys for NoRemote {
    fn at_hand<'a>(&'a self, _: &'a [WantedKey]) -> BoxFuture<'a, KeySet> {
        Box::pin(async { KeySet::default() })
    }
    fn fetch<'a>(&'a self, _: &'a [WantedKey]) -> BoxFuture<'a, KeySet> {
        Box::pin(async { KeySet::default() })
    }
}

impl Remote for NoRemote {
    fn make_member<'a>(
        &'a self,
        _: &'a ServerName,
        _: MakeMember<'a>,
    ) -> BoxFuture<'a, RemoteResult<Template>> {
        nobody()
    }
    fn send_join<'a>(
        &'a self,
        _: &'a ServerName,
        _: SendMember<'a>,
        _: Members,
    ) -> BoxFuture<'a, RemoteResult<JoinAnswer>> {
        nobody()
    }
    fn send_leave<'a>(
        &'a self,
        _: &'a ServerName,
        _: SendMember<'a>,
    ) -> BoxFuture<'a, RemoteResult<()>> {
        nobody()
    }
    fn send_knock<'a>(
        &'a self,
        _: &'a ServerName,
        _: SendMember<'a>,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        nobody()
    }
    fn invite<'a>(
        &'a self,
        _: &'a ServerName,
        _: Invite<'a>,
    ) -> BoxFuture<'a, RemoteResult<Untrusted>> {
        nobody()
    }
    fn policy_sign<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RawValue,
    ) -> BoxFuture<'a, RemoteResult<Untrusted>> {
        nobody()
    }
    fn exchange_third_party_invite<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomId,
        _: &'a RawValue,
    ) -> BoxFuture<'a, RemoteResult<()>> {
        nobody()
    }
    fn state_ids<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomId,
        _: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<StateIds>> {
        nobody()
    }
    fn state<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomId,
        _: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<StateEvents>> {
        nobody()
    }
    fn event<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<Untrusted>> {
        nobody()
    }
    fn event_auth<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomId,
        _: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        nobody()
    }
    fn backfill<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomId,
        _: &'a [OwnedEventId],
        _: usize,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        nobody()
    }
    fn missing_events<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomId,
        _: &'a MissingEvents,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        nobody()
    }
    fn timestamp_to_event<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomId,
        _: At,
    ) -> BoxFuture<'a, RemoteResult<FoundAt>> {
        nobody()
    }
    fn alias<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomAliasId,
    ) -> BoxFuture<'a, RemoteResult<AliasAnswer>> {
        nobody()
    }
    fn hierarchy<'a>(
        &'a self,
        _: &'a ServerName,
        _: &'a RoomId,
        _: Children,
    ) -> BoxFuture<'a, RemoteResult<SpaceAnswer>> {
        nobody()
    }
}
