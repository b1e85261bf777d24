//! EDUs of other servers: each goes to the crate whose business it is, and none stops another.

use hearth_e2ee::{E2ee, Resync};
use hearth_ports::BoxFuture;
use hearth_rooms::ephemeral::RemotePresence;
use hearth_rooms::serve::RemoteReceipt;
use hearth_rooms::{Rooms, StoreError};
use hearth_types::UnixMs;
use ruma::presence::PresenceState;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use tokio_util::task::TaskTracker;

/// Most users of one presence EDU that are looked at.
const PRESENCES_MAX: usize = 100;
/// Most receipts of one EDU that are looked at.
const RECEIPTS_MAX: usize = 500;

/// Takes EDUs in. Cheap to clone.
#[derive(Clone)]
pub struct Edus {
    rooms: Rooms,
    e2ee: E2ee,
    tasks: TaskTracker,
}

#[derive(Deserialize)]
struct Edu<'a> {
    edu_type: String,
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Deserialize)]
struct Whose {
    user_id: OwnedUserId,
}

#[derive(Deserialize)]
struct Typing {
    room_id: OwnedRoomId,
    user_id: OwnedUserId,
    typing: bool,
}

#[derive(Deserialize)]
struct AllPresence<'a> {
    #[serde(borrow)]
    push: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct UserPresence {
    user_id: OwnedUserId,
    presence: PresenceState,
    status_msg: Option<String>,
    #[serde(default)]
    last_active_ago: u64,
}

/// By room. What is in it is read one by one, so that one that is malformed takes no other with it.
#[derive(Deserialize)]
struct Receipts(BTreeMap<String, Box<RawValue>>);

#[derive(Deserialize)]
struct ByType {
    #[serde(rename = "m.read", default)]
    read: BTreeMap<String, Box<RawValue>>,
}

#[derive(Deserialize)]
struct Receipt {
    event_ids: Vec<OwnedEventId>,
    #[serde(default)]
    data: ReceiptData,
}

#[derive(Default, Deserialize)]
struct ReceiptData {
    #[serde(default)]
    ts: u64,
    thread_id: Option<String>,
}

impl Edus {
    /// For these domains; `tasks` owns the fetching of device lists.
    pub fn new(rooms: Rooms, e2ee: E2ee, tasks: TaskTracker) -> Self {
        Self { rooms, e2ee, tasks }
    }

    /// Takes the EDUs of a transaction in, in their order. What is malformed, unknown or not the server's to say is
    /// passed over. After an error the transaction must not be acknowledged: something could not be kept just now, and
    /// has to come again before anything that was sent after it.
    pub(crate) fn receive<'a>(
        &'a self,
        origin: &'a ServerName,
        edus: &'a [Box<RawValue>],
    ) -> BoxFuture<'a, hearth_e2ee::Result<()>> {
        Box::pin(async move {
            for edu in edus {
                let Some(edu) = parsed::<Edu<'_>>(edu) else {
                    continue;
                };
                let passing = self.take(origin, &edu).await;
                let kept = self.keep(origin, &edu).await;
                if let Err(error) = passing {
                    tracing::warn!(%error, "could not take in an EDU of `{origin}`");
                }
                match kept {
                    Err(error) if is_passing(&error) => return Err(error),
                    Err(error) => {
                        tracing::debug!(%error, "did not take in an EDU of `{origin}`");
                    }
                    Ok(()) => {}
                }
            }
            Ok(())
        })
    }

    async fn take(&self, origin: &ServerName, edu: &Edu<'_>) -> hearth_rooms::Result<()> {
        match edu.edu_type.as_str() {
            "m.typing" => self.typing(origin, edu.content).await,
            "m.receipt" => self.receipts(origin, edu.content).await,
            "m.presence" => self.presence(origin, edu.content).await,
            _ => Ok(()),
        }
    }

    /// What is durable: messages to devices, device lists, cross-signing keys.
    async fn keep(&self, origin: &ServerName, edu: &Edu<'_>) -> hearth_e2ee::Result<()> {
        let content = edu.content.get().as_bytes();
        match edu.edu_type.as_str() {
            "m.direct_to_device" => self.e2ee.receive_to_device(origin, content).await,
            "m.signing_key_update" => self.e2ee.receive_signing_key_update(origin, content).await,
            "m.device_list_update" => {
                let resync = self
                    .e2ee
                    .receive_device_list_update(origin, content)
                    .await?;
                if resync == Resync::Needed
                    && let Some(Whose { user_id }) = owned::<Whose>(edu.content)
                {
                    self.resync(user_id);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Fetches a device list anew, in the background: its server waits for the answer to its transaction.
    fn resync(&self, user: OwnedUserId) {
        let e2ee = self.e2ee.clone();
        self.tasks.spawn(async move {
            if let Err(error) = e2ee.resync(&user).await {
                tracing::debug!(%error, "could not fetch a device list");
            }
        });
    }

    async fn typing(&self, origin: &ServerName, content: &RawValue) -> hearth_rooms::Result<()> {
        let Some(typing) = owned::<Typing>(content) else {
            return Ok(());
        };
        let (room, user) = (&*typing.room_id, &*typing.user_id);
        match typing.typing {
            true => self.rooms.receive_typing(origin, room, user).await,
            false => self.rooms.receive_typing_end(origin, room, user).await,
        }
    }

    async fn presence(&self, origin: &ServerName, content: &RawValue) -> hearth_rooms::Result<()> {
        let Some(all) = parsed::<AllPresence<'_>>(content) else {
            return Ok(());
        };
        // One that is malformed does not stop the others.
        let each = all.push.into_iter().take(PRESENCES_MAX);
        for said in each.filter_map(owned::<UserPresence>) {
            let presence = RemotePresence {
                state: said.presence,
                status_msg: said.status_msg,
                last_active_ago_ms: said.last_active_ago,
            };
            let taken = self
                .rooms
                .receive_presence(origin, &said.user_id, &presence);
            taken.await?;
        }
        Ok(())
    }

    async fn receipts(&self, origin: &ServerName, content: &RawValue) -> hearth_rooms::Result<()> {
        for (room, user, receipt) in listed(content) {
            self.rooms
                .receive_receipt(origin, &room, &user, &receipt)
                .await?;
        }
        Ok(())
    }
}

/// Whether what failed here may succeed later.
fn is_passing(error: &hearth_e2ee::Error) -> bool {
    use hearth_e2ee::Error;
    match error {
        Error::Contended => true,
        Error::Store(error) => {
            let is_lasting = matches!(
                error,
                StoreError::Corrupt { .. } | StoreError::BatchTooLarge { .. }
            );
            !is_lasting
        }
        _ => false,
    }
}

/// The receipts of an EDU, the newest event of each.
fn listed(content: &RawValue) -> Vec<(OwnedRoomId, OwnedUserId, RemoteReceipt)> {
    let Some(Receipts(rooms)) = owned::<Receipts>(content) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for (room, by_type) in rooms {
        let (Ok(room), Some(ByType { read })) = (RoomId::parse(room), owned(&by_type)) else {
            continue;
        };
        for (user, receipt) in read {
            let (Ok(user), Some(mut receipt)) = (UserId::parse(user), owned::<Receipt>(&receipt))
            else {
                continue;
            };
            let Some(event_id) = receipt.event_ids.pop() else {
                continue;
            };
            let receipt = RemoteReceipt {
                event_id,
                thread: receipt.data.thread_id,
                ts: UnixMs(receipt.data.ts),
            };
            all.push((room.clone(), user, receipt));
        }
    }
    all.truncate(RECEIPTS_MAX);
    all
}

fn parsed<'a, T: Deserialize<'a>>(json: &'a RawValue) -> Option<T> {
    serde_json::from_str(json.get()).ok()
}

fn owned<T: DeserializeOwned>(json: &RawValue) -> Option<T> {
    serde_json::from_str(json.get()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::to_raw_value;

    use super::*;

    #[test]
    fn a_malformed_receipt_takes_no_other_with_it() {
        let read = json!({
            "@a:far": { "event_ids": ["$older", "$newer"], "data": { "ts": 7, "thread_id": "main" } },
            "@b:far": { "event_ids": ["no id of an event"], "data": { "ts": 8 } },
            "@c:far": { "event_ids": [], "data": { "ts": 9 } },
            "nobody": { "event_ids": ["$newer"], "data": { "ts": 10 } },
        });
        let content = json!({
            "!good:far": { "m.read": read },
            "!other:far": { "m.read": [] },
            "no room": { "m.read": read },
        });
        let listed = listed(&to_raw_value(&content).unwrap());
        let [(room, user, receipt)] = &listed[..] else {
            panic!("one of them is well-formed: {listed:?}");
        };
        assert_eq!((room.as_str(), user.as_str()), ("!good:far", "@a:far"));
        assert_eq!(receipt.event_id, "$newer");
        assert_eq!(receipt.thread.as_deref(), Some("main"));
        assert_eq!(receipt.ts, UnixMs(7));
    }
}
