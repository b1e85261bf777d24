use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use hearth_event::canonical::Object;
use hearth_types::UnixMs;

use super::*;
use crate::fake::{Here, NOW, Others, name};
use crate::published::tests::keys_of;
use crate::{KeyQuery, Notary};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

fn wanted(server: &str, key_id: &str, at: u64) -> Vec<WantedKey> {
    vec![WantedKey {
        server: name(server),
        key_id: key_id.to_owned(),
        at: UnixMs(at),
    }]
}

/// A server whose key is made of the number that is set.
fn changing(server: &'static str, seed: Arc<AtomicU8>) -> Others {
    Others::new(move |seen| {
        if seen.authority != server || seen.uri != "/_matrix/key/v2/server" {
            return None;
        }
        let seed = seed.load(Ordering::SeqCst);
        let keys = keys_of(server, seed, &format!("k{seed}"), NOW);
        Some((200, keys.document_text()))
    })
}

#[tokio::test]
async fn a_server_is_asked_once_and_its_key_is_kept_over_a_restart() {
    let here = Here::new(changing("a.example:1", Arc::new(AtomicU8::new(1))));
    let ring = here.ring(&[]);
    let ask = wanted("a.example:1", "ed25519:k1", NOW);
    assert!(
        ring.at_hand(&ask)
            .await
            .get(&name("a.example:1"), "ed25519:k1")
            .is_none()
    );
    let key = ring
        .fetch(&ask)
        .await
        .get(&name("a.example:1"), "ed25519:k1")
        .unwrap();
    assert_eq!(key.key, keys_of("x", 1, "k1", 0).key().public_key_bytes());
    assert_eq!(key.valid_until, UnixMs(NOW + DAY_MS));
    assert!(
        here.ring(&[])
            .at_hand(&ask)
            .await
            .get(&name("a.example:1"), "ed25519:k1")
            .is_some()
    );
    here.ring(&[]).fetch(&ask).await;
    assert_eq!(here.others.seen().len(), 1);
}

#[tokio::test]
async fn a_replaced_key_is_good_for_old_events_and_for_no_request() {
    let seed = Arc::new(AtomicU8::new(1));
    let here = Here::new(changing("a.example:1", seed.clone()));
    let (ring, server) = (here.ring(&[]), name("a.example:1"));
    assert!(
        ring.request_key(&server, "ed25519:k1")
            .await
            .unwrap()
            .is_some()
    );
    seed.store(2, Ordering::SeqCst);
    here.clock.advance(Duration::from_secs(60));
    assert!(
        ring.request_key(&server, "ed25519:k2")
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        ring.request_key(&server, "ed25519:k1")
            .await
            .unwrap()
            .is_none()
    );
    let old = ring
        .at_hand(&wanted("a.example:1", "ed25519:k1", NOW))
        .await;
    let old = old.get(&server, "ed25519:k1").unwrap();
    assert_eq!(old.valid_until, UnixMs(NOW + DAY_MS));
}

#[tokio::test]
async fn a_key_that_has_ended_is_asked_for_again_and_refused_if_nobody_answers() {
    let is_up = Arc::new(AtomicBool::new(true));
    let up = is_up.clone();
    let here = Here::new(Others::new(move |_| {
        let keys = keys_of("a.example:1", 1, "k1", NOW);
        up.load(Ordering::SeqCst)
            .then(|| (200, keys.document_text()))
    }));
    let (ring, server) = (here.ring(&[]), name("a.example:1"));
    assert!(
        ring.request_key(&server, "ed25519:k1")
            .await
            .unwrap()
            .is_some()
    );
    is_up.store(false, Ordering::SeqCst);
    here.clock.advance(Duration::from_millis(DAY_MS + 1));
    assert!(
        ring.request_key(&server, "ed25519:k1")
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn s21_a_server_without_keys_is_not_asked_again_and_again() {
    let here = Here::new(Others::new(|_| None));
    let (ring, server) = (here.ring(&[]), name("a.example:1"));
    for _ in 0..10 {
        assert!(
            ring.request_key(&server, "ed25519:x")
                .await
                .unwrap()
                .is_none()
        );
    }
    assert_eq!(here.others.seen().len(), 1);
    here.clock.advance(PAUSE_MIN * 2);
    ring.request_key(&server, "ed25519:x").await.unwrap();
    assert_eq!(here.others.seen().len(), 2);
}

fn notary(own: u8, document: Object) -> Others {
    Others::new(
        move |seen| match (seen.authority.as_str(), seen.uri.as_str()) {
            ("notary:1", "/_matrix/key/v2/server") => {
                Some((200, keys_of("notary:1", own, "n", NOW).document_text()))
            }
            ("notary:1", "/_matrix/key/v2/query") => {
                let answer = Object::from([(
                    "server_keys".to_owned(),
                    Value::Array(vec![Value::Object(document.clone())]),
                )]);
                Some((200, canonical::to_string(&answer)))
            }
            _ => None,
        },
    )
}

#[tokio::test]
async fn a_notary_is_believed_if_it_and_the_server_have_signed() {
    let plain = keys_of("a.example:1", 1, "k1", NOW).document();
    let mut both = plain.clone();
    keys_of("notary:1", 5, "n", NOW).sign(&mut both);
    let mut notary_only = both.clone();
    if let Some(Value::Object(signatures)) = notary_only.get_mut("signatures") {
        signatures.remove("a.example:1");
    }
    for (document, is_believed) in [(both, true), (plain, false), (notary_only, false)] {
        let here = Here::new(notary(5, document));
        let ring = here.ring(&["notary:1"]);
        let key = ring
            .request_key(&name("a.example:1"), "ed25519:k1")
            .await
            .unwrap();
        assert_eq!(key.is_some(), is_believed);
    }
}

#[tokio::test]
async fn as_a_notary_this_server_signs_what_it_knows_of_others() {
    let is_up = Arc::new(AtomicBool::new(true));
    let up = is_up.clone();
    let here = Here::new(Others::new(move |_| {
        let keys = keys_of("a.example:1", 1, "k1", NOW);
        up.load(Ordering::SeqCst)
            .then(|| (200, keys.document_text()))
    }));
    let notary = Notary::new(here.ring(&[]), here.own.clone());
    let query = |server: &str, until| KeyQuery {
        server: name(server),
        valid_until: UnixMs(until),
    };
    let ask = [query("a.example:1", NOW), query("here.example", NOW)];
    let answer = notary.answer(&ask).await.unwrap();
    is_up.store(false, Ordering::SeqCst);
    let answer = canonical::parse_object(answer.as_bytes(), Strictness::Strict).unwrap();
    let documents = answer["server_keys"].as_array().unwrap();
    assert_eq!(documents.len(), 2);
    let public = here.own.key().public_key_bytes();
    for document in documents {
        let document = document.as_object().unwrap();
        verify_json(document, "here.example", "ed25519:own", &public).unwrap();
    }
    // Out of reach and out of date: what was known is still told.
    here.clock.advance(Duration::from_millis(30 * DAY_MS));
    let late = notary
        .answer(&[query("a.example:1", NOW + 31 * DAY_MS)])
        .await;
    assert!(late.unwrap().contains("ed25519:k1"));
    let unknown = notary.answer(&[query("b.example:1", NOW)]).await.unwrap();
    assert_eq!(unknown, r#"{"server_keys":[]}"#);
}
