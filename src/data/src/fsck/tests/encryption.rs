//! Rows of encryption: those of a sound store, and each of their invariants broken.

use hearth_store::{Backend, Batch, Position};
use hearth_types::UnixMs;

use super::fixture::{ALICE, BOB};
use super::{Invariant, reported};
use crate::e2ee::backup::{BackupKeyRow, BackupRow};
use crate::e2ee::device_lists::DeviceListRow;
use crate::e2ee::keys::{
    self, DehydratedRow, DeviceId, FallbackKeyRow, KeyHeadRow, OneTimeKeyIdRow, OneTimeKeyRow,
};
use crate::e2ee::to_device;
use crate::row::Json;
use crate::tables as t;

const ALGORITHM: &str = "signed_curve25519";

fn device(id: &str) -> DeviceId {
    (BOB.to_owned(), id.to_owned())
}

fn algorithm() -> (String, String, String) {
    (BOB.to_owned(), "D".to_owned(), ALGORITHM.to_owned())
}

fn key_id(id: &str) -> (String, String, String) {
    (BOB.to_owned(), "D".to_owned(), format!("{ALGORITHM}:{id}"))
}

fn fallback(used: bool) -> FallbackKeyRow {
    FallbackKeyRow {
        key_id: "F".to_owned(),
        key: "{}".to_owned(),
        used,
    }
}

fn id_row(given: bool) -> OneTimeKeyIdRow {
    OneTimeKeyIdRow {
        digest: [1; 32],
        given,
    }
}

fn message(number: &str) -> (String, String) {
    ("far".to_owned(), number.to_owned())
}

fn backup_key() -> (String, u64, (String, String)) {
    (BOB.to_owned(), 1, ("!room:b".to_owned(), "S".to_owned()))
}

/// One row of each kind for bob's device `D`.
pub(super) fn sound(batch: &mut Batch) {
    let bob = BOB.to_owned();
    t::DEVICE_KEYS.put(batch, &device("D"), &Json::from_text("{}"));
    let key = OneTimeKeyRow {
        key_id: "A".to_owned(),
        key: "{}".to_owned(),
    };
    t::ONE_TIME_KEYS.put_at_position(batch, &algorithm(), &0, &key);
    t::ONE_TIME_KEY_IDS.put(batch, &key_id("A"), &id_row(false));
    t::ONE_TIME_KEY_IDS.put(batch, &key_id("B"), &id_row(true));
    t::FALLBACK_KEYS.put(batch, &algorithm(), &fallback(false));
    let head = KeyHeadRow {
        counts: [(ALGORITHM.to_owned(), 1)].into(),
        unused_fallback: vec![ALGORITHM.to_owned()],
        given: 1,
        position: Position::ZERO,
    };
    keys::head_put(batch, &device("D"), None, &head);
    t::DEVICE_LISTS.put_position(batch, &bob, &DeviceListRow::default());
    t::DEVICE_LISTS_AT.put_at_position(batch, &(), &bob, &());
    let signed = ("K".to_owned(), "ed25519:L".to_owned());
    keys::signature_put(batch, &(ALICE.to_owned(), bob.clone(), signed), "signed");
    t::SIGNED_AT.put_at_position(batch, &bob, &ALICE.to_owned(), &());
    to_device::put(batch, &device("D"), &Json::from_text("{}"));
    to_device::seen_put(batch, &message("1"), UnixMs(1));
    let dehydrated = DehydratedRow {
        data: "{}".to_owned(),
    };
    t::DEHYDRATED_DEVICES.put(batch, &device("D"), &dehydrated);
    let backup = BackupRow {
        algorithm: "m.x".to_owned(),
        auth_data: "{}".to_owned(),
        etag: 1,
        count: 1,
        deleted: false,
    };
    t::BACKUP_VERSIONS.put(batch, &(bob, 1), &backup);
    let key = BackupKeyRow {
        first_message_index: 0,
        forwarded_count: 0,
        is_verified: true,
        session_data: "{}".to_owned(),
    };
    t::BACKUP_KEYS.put(batch, &backup_key(), &key);
}

/// Breaks a sound store; what is told must have these words.
async fn broken(words: &str, breaks: impl FnOnce(&mut Batch)) {
    reported(Invariant::Encryption, words, async |_, batch| {
        breaks(batch);
    })
    .await;
}

#[tokio::test]
async fn keys_of_no_device_are_reported() {
    broken("keys of @bob:b, X, which is not there", |batch| {
        t::DEVICE_KEYS.put(batch, &device("X"), &Json::from_text("{}"));
    })
    .await;
    broken("keys of @bob:b, D are no object", |batch| {
        t::DEVICE_KEYS.put(batch, &device("D"), &Json::from_text("[]"));
    })
    .await;
    broken("key counts of @bob:b, X, which is not there", |batch| {
        t::KEY_HEADS.put_position(batch, &device("X"), &KeyHeadRow::default());
    })
    .await;
    broken("the dehydrated device X of @bob:b", |batch| {
        let row = DehydratedRow {
            data: "{}".to_owned(),
        };
        t::DEHYDRATED_DEVICES.put(batch, &device("X"), &row);
    })
    .await;
    broken("messages to @bob:b, X, which is not there", |batch| {
        to_device::put(batch, &device("X"), &Json::from_text("{}"));
    })
    .await;
}

#[tokio::test]
async fn wrong_counts_of_keys_are_reported() {
    broken("has {} keys, not {\"signed_curve25519\": 1}", |batch| {
        t::ONE_TIME_KEYS.delete_range(batch, t::ONE_TIME_KEYS.prefix(&algorithm()));
    })
    .await;
    broken("0 keys were given out, not 1", |batch| {
        t::ONE_TIME_KEY_IDS.delete(batch, &key_id("B"));
    })
    .await;
    broken("other fallback keys are unused", |batch| {
        t::FALLBACK_KEYS.put(batch, &algorithm(), &fallback(true));
    })
    .await;
    broken("signed_curve25519:A of @bob:b, D: not counted", |batch| {
        t::KEY_HEADS.delete(batch, &device("D"));
    })
    .await;
    for given in [None, Some(id_row(true))] {
        broken(
            "its id is not known, or it was given out",
            |batch| match &given {
                Some(row) => t::ONE_TIME_KEY_IDS.put(batch, &key_id("A"), row),
                None => t::ONE_TIME_KEY_IDS.delete(batch, &key_id("A")),
            },
        )
        .await;
    }
    broken("backup 1 of @bob:b has 0 keys, not 1", |batch| {
        t::BACKUP_KEYS.delete(batch, &backup_key());
    })
    .await;
}

#[tokio::test]
async fn indexes_of_lists_signatures_and_messages_that_are_wrong_are_reported() {
    let words = "device list of @bob:b is not in the index";
    reported(Invariant::Encryption, words, async |fixture, batch| {
        let snapshot = fixture.store.snapshot().await.unwrap();
        let row = t::DEVICE_LISTS.get(&*snapshot, &BOB.to_owned()).await;
        let position = row.unwrap().unwrap().position;
        t::DEVICE_LISTS_AT.delete(batch, &((), position, BOB.to_owned()));
    })
    .await;
    broken("device list of @bob:b did not change at", |batch| {
        t::DEVICE_LISTS_AT.put(batch, &((), Position(999_999), BOB.to_owned()), &());
    })
    .await;
    broken("@bob:b did not sign a key of @alice:b at", |batch| {
        let key = (BOB.to_owned(), Position(999_999), ALICE.to_owned());
        t::SIGNED_AT.put(batch, &key, &());
    })
    .await;
    broken("the message 1 of far came at", |batch| {
        t::TO_DEVICE_SEEN.delete(batch, &message("1"));
    })
    .await;
    broken(
        "2 messages of other servers are known, 1 of some age",
        |batch| {
            let row = to_device::SeenMessageRow(UnixMs(1));
            t::TO_DEVICE_SEEN.put(batch, &message("2"), &row);
        },
    )
    .await;
}
