//! Friends and groups as JSON.

use hearth_social::{Circle, Ending, Friend, FriendState, Group, Standing};
use ruma::UserId;
use serde_json::{Map, Value, json};

pub(super) fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::None => "none",
        Standing::Blocked => "blocked",
        Standing::Is(FriendState::PendingOut) => "pending_out",
        Standing::Is(FriendState::PendingIn) => "pending_in",
        Standing::Is(FriendState::Friend) => "friend",
        Standing::Is(FriendState::Ended) => "ended",
    }
}

pub(super) fn friend(friend: &Friend) -> Value {
    let mut shown = Map::new();
    shown.insert("user_id".to_owned(), friend.user.as_str().into());
    shown.insert("state".to_owned(), standing(friend.standing).into());
    shown.insert("past_rooms".to_owned(), json!(friend.past));
    if let Some(since) = friend.since {
        shown.insert("since_ts".to_owned(), since.0.into());
    }
    let ending = friend.ending.map(|ending| match ending {
        Ending::Declined => "declined",
        Ending::Withdrawn => "withdrawn",
        Ending::Unfriended => "unfriended",
    });
    let texts = [
        ("room_id", friend.room.as_ref().map(|room| room.as_str())),
        ("displayname", friend.displayname.as_deref()),
        ("avatar_url", friend.avatar_url.as_deref()),
        ("message", friend.message.as_deref()),
        ("ending", ending),
    ];
    put(&mut shown, texts);
    Value::Object(shown)
}

pub(super) fn circle(circle: &Circle) -> Value {
    let users = circle.users.iter().map(|friend| {
        let mut shown = Map::new();
        let texts = [
            ("user_id", Some(friend.user.as_str())),
            ("room_id", Some(friend.room.as_str())),
            ("displayname", friend.displayname.as_deref()),
            ("avatar_url", friend.avatar_url.as_deref()),
        ];
        put(&mut shown, texts);
        Value::Object(shown)
    });
    json!({ "users": users.collect::<Vec<_>>(), "limited": circle.is_limited })
}

pub(super) fn group(user: &UserId, group: &Group) -> Value {
    let mut shown = Map::new();
    let is_own = group
        .creator
        .as_ref()
        .is_some_and(|creator| creator == user);
    shown.insert("created_by_me".to_owned(), is_own.into());
    shown.insert("joined_members".to_owned(), group.joined.into());
    let creator = group.creator.as_ref().map(|user| user.as_str());
    let invited_by = group.invited_by.as_ref().map(|user| user.as_str());
    let membership = group
        .membership
        .as_ref()
        .map(|membership| membership.as_str());
    let texts = [
        ("room_id", Some(group.room.as_str())),
        ("kind", Some(group.kind.as_str())),
        ("membership", membership),
        ("creator", creator),
        ("name", group.name.as_deref()),
        ("topic", group.topic.as_deref()),
        ("avatar_url", group.avatar_url.as_deref()),
        ("canonical_alias", group.canonical_alias.as_deref()),
        ("join_rule", group.join_rule.as_deref()),
        ("invited_by", invited_by),
    ];
    put(&mut shown, texts);
    Value::Object(shown)
}

/// A page of a list, with the token of the next.
pub(super) fn page(name: &str, entries: Vec<Value>, next: Option<String>) -> Value {
    let mut shown = Map::new();
    shown.insert(name.to_owned(), Value::Array(entries));
    put(&mut shown, [("next_batch", next.as_deref())]);
    Value::Object(shown)
}

fn put<const N: usize>(shown: &mut Map<String, Value>, texts: [(&str, Option<&str>); N]) {
    for (field, text) in texts {
        if let Some(text) = text {
            shown.insert(field.to_owned(), text.into());
        }
    }
}
