//! Every body that has to do with keys, changed at every place in every way: nothing malformed is stored, what was
//! stored before stays, no answer is a 5xx.
//!
//! A refused request must not have committed anything; after one that was taken, everything that can be read is
//! judged by [`super::parts`], and what it had nothing to do with is as it was. By default each eighth change is tried,
//! which takes seconds; `KEY_MUTATIONS=all` tries all of them, in minutes.

use hearth_store::Position;
use serde_json::{Map, Value, json};

use super::api::{ALICE, Answer, Api, BOB, Device, Identity, id_of, sign};
use super::parts;

/// Of so many changes one is tried.
fn every() -> usize {
    if std::env::var("KEY_MUTATIONS").is_ok_and(|which| which == "all") {
        1
    } else {
        8
    }
}

const DEHYDRATED: &str = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device";

/// A good request.
struct Good {
    line: &'static str,
    body: Value,
    /// What it writes, as a field of what is read.
    writes: &'static str,
}

/// What stands in place of something, one after the other.
fn nonsense() -> Vec<Value> {
    let mut deep = json!({});
    for _ in 0..60 {
        deep = json!({ "x": deep });
    }
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(9_007_199_254_740_993_u64),
        json!(1.5),
        json!(""),
        json!("x"),
        json!("A".repeat(43)),
        json!("\u{0}"),
        json!("y".repeat(70_000)),
        json!(BOB),
        json!([]),
        json!([{}]),
        json!({}),
        json!({ "": "" }),
        json!({ BOB: { "ed25519:B": "A".repeat(86) } }),
        deep,
    ]
}

/// Texts that no JSON value can be made of, in place of a number that no good body has.
const RAW: [&str; 8] = [
    "1e3",
    "1.0",
    "-0",
    "1e999",
    "\"\\ud800\"",
    "{\"a\":1,\"a\":2}",
    "tru",
    "\"\u{feff}",
];
const MARK: i64 = 730_730_730;

/// The places of a value, as JSON pointers, itself included.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                places(inner, &format!("{at}/{}", escaped(name)), found);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                places(inner, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// All changes of a body at a place.
fn changed(body: &Value, at: &str) -> Vec<Vec<u8>> {
    let put = |value: Value| {
        let mut body = body.clone();
        *body.pointer_mut(at).unwrap() = value;
        body
    };
    let mut bodies: Vec<Value> = nonsense().into_iter().map(&put).collect();
    let here = body.pointer(at).unwrap();
    bodies.push(put(json!([here])));
    if let Value::Object(fields) = here {
        for extra in [
            ("x", json!(1.5)),
            ("signatures", json!(1)),
            ("", here.clone()),
        ] {
            let mut more = fields.clone();
            more.insert(extra.0.to_owned(), extra.1);
            bodies.push(put(Value::Object(more)));
        }
        for name in fields.keys() {
            let mut fewer = fields.clone();
            let value = fewer.remove(name).unwrap();
            bodies.push(put(Value::Object(fewer.clone())));
            fewer.insert(format!("{name}x"), value);
            bodies.push(put(Value::Object(fewer)));
        }
    }
    if let Value::String(text) = here {
        bodies.push(put(json!(text.replace(['a', 'A'], "b"))));
        bodies.push(put(json!(format!("{text}="))));
        bodies.push(put(json!(text.to_uppercase())));
    }
    let mut texts: Vec<Vec<u8>> = bodies.iter().map(|body| body.to_string().into()).collect();
    let marked = put(json!(MARK)).to_string();
    texts.extend(RAW.map(|raw| marked.replace(&MARK.to_string(), raw).into_bytes()));
    texts.push(marked.replace(&MARK.to_string(), "\"\u{1}").into_bytes());
    let mut broken = marked.into_bytes();
    broken.push(0xff);
    texts.push(broken);
    texts
}

struct World {
    api: Api,
    alice: Device,
    bob: Device,
    sleeping: Device,
    identity: Identity,
    /// What could be read at a commit.
    known: (Position, Map<String, Value>),
    sent: usize,
    taken: usize,
    refused: usize,
}

impl World {
    async fn new() -> Self {
        let api = Api::new();
        let alice = api.device("alice", "A").await;
        let bob = api.device("bob", "B").await;
        let mut sleeping = api.device("carol", "SLEEP").await;
        sleeping.user = ALICE.to_owned();
        let version = json!({ "algorithm": "a", "auth_data": { "public_key": "x" } });
        api.post("room_keys/version", &alice.token, &version)
            .await
            .ok();
        let world = Self {
            identity: Identity::new(ALICE, 1),
            api,
            alice,
            bob,
            sleeping,
            known: (Position::ZERO, Map::new()),
            sent: 0,
            taken: 0,
            refused: 0,
        };
        for good in world.goods() {
            world
                .send(&good, good.body.to_string().into_bytes())
                .await
                .ok();
        }
        world
    }

    fn goods(&self) -> Vec<Good> {
        let good = |line, writes, body| Good { line, body, writes };
        let (alice, identity) = (&self.alice, &self.identity);
        let mut signed = alice.keys();
        let by = &identity.self_signing;
        sign(by, ALICE, &id_of(by), &mut signed);
        let mut master = identity.public("master", &identity.master);
        alice.sign(&mut master);
        let session = json!({
            "first_message_index": 1,
            "forwarded_count": 0,
            "is_verified": true,
            "session_data": { "ciphertext": "x" },
        });
        let sessions = json!({ "sessions": { "S": session } });
        vec![
            good(
                "POST keys/upload",
                "devices",
                json!({
                    "device_keys": alice.keys(),
                    "one_time_keys": alice.one_time_keys(0..1),
                    "fallback_keys": alice.fallback_keys(0),
                }),
            ),
            good(
                "POST keys/device_signing/upload",
                "cross_signing",
                identity.body(),
            ),
            good(
                "POST keys/signatures/upload",
                "signatures",
                json!({ ALICE: { "A": signed, identity.master.public_key(): master } }),
            ),
            good(
                "PUT room_keys/version/1",
                "backup",
                json!({ "algorithm": "a", "auth_data": { "public_key": "x" }, "version": "1" }),
            ),
            good(
                "PUT room_keys/keys?version=1",
                "backup",
                json!({ "rooms": { "!r:h.test": sessions } }),
            ),
            good("PUT room_keys/keys/!r:h.test?version=1", "backup", sessions),
            good(
                "PUT room_keys/keys/!r:h.test/S?version=1",
                "backup",
                session,
            ),
            good(
                "PUT /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device",
                "dehydrated",
                json!({
                    "device_id": "SLEEP",
                    "device_data": { "algorithm": "x" },
                    "initial_device_display_name": "asleep",
                    "device_keys": self.sleeping.keys(),
                    "one_time_keys": self.sleeping.one_time_keys(0..1),
                }),
            ),
            good(
                "PUT sendToDevice/m.test/{txn}",
                "messages",
                json!({ "messages": { ALICE: { "A": { "a": 1 } } } }),
            ),
        ]
    }

    async fn send(&self, good: &Good, body: Vec<u8>) -> Answer {
        let line = good.line.replace("{txn}", &self.sent.to_string());
        self.api.raw(&line, &self.alice.token, body).await
    }

    /// All that can be read, by what writes it.
    async fn read(&self) -> Map<String, Value> {
        let api = &self.api;
        let token = &self.alice.token;
        let shown = api.query(&self.alice, ALICE).await;
        let mut devices = shown["device_keys"][ALICE].clone();
        let asleep = devices.as_object_mut().and_then(|all| all.remove("SLEEP"));
        let synced = api.get("sync", token).await.ok();
        let device = api.get(DEHYDRATED, token).await;
        let usages = ["master", "self_signing", "user_signing"];
        let cross_signing = usages.map(|usage| shown[format!("{usage}_keys")][ALICE].clone());
        let read = json!({
            "devices": [devices, synced["device_one_time_keys_count"]],
            "cross_signing": cross_signing,
            "backup": [
                api.get("room_keys/version/1", token).await.ok(),
                api.get("room_keys/keys?version=1", token).await.ok(),
            ],
            "dehydrated": [asleep, device.body],
            "messages": synced["to_device"]["events"],
        });
        read.as_object().unwrap().clone()
    }

    /// Judges all that can be read.
    async fn judge(&self) -> parts::Verdict {
        let api = &self.api;
        let shown = api.query(&self.bob, ALICE).await;
        let devices = shown["device_keys"][ALICE].as_object().unwrap();
        for (device, keys) in devices {
            parts::device_keys(ALICE, device, keys)?;
        }
        parts::cross_signing(ALICE, &api.query(&self.alice, ALICE).await)?;
        let read = self.read().await;
        parts::backup(&read["backup"][1])?;
        parts::messages(&read["messages"])?;
        for device in [&self.alice, &self.sleeping] {
            let claimed = api.claim(&self.bob, device).await;
            if let Some(keys) = devices.get(&device.id).filter(|_| claimed.is_object()) {
                parts::claimed(ALICE, &device.id, (keys, &claimed))?;
            }
        }
        Ok(())
    }

    /// Sends a changed body, and the good one again if it was taken.
    async fn try_one(&mut self, good: &Good, body: Vec<u8>) {
        self.sent += 1;
        let said = String::from_utf8_lossy(&body)
            .chars()
            .take(400)
            .collect::<String>();
        let told = format!("{} {said}", good.line);
        if self.known.0 != self.api.position().await {
            let read = self.read().await;
            self.known = (self.api.position().await, read);
        }
        let at = self.known.0;
        let answer = self.send(good, body).await;
        assert!(answer.status.as_u16() < 500, "{told}: {}", answer.body);
        if answer.status != 200 {
            // To replace cross-signing keys takes a password.
            let is_asked = answer.status == 401 && answer.body["flows"].is_array();
            assert!(is_asked || !answer.error().1.is_empty(), "{told}");
            assert_eq!(self.api.position().await, at, "refused, but stored: {told}");
            self.refused += 1;
            return;
        }
        self.taken += 1;
        if self.api.position().await == at {
            return;
        }
        let after = self.read().await;
        for (part, was) in &self.known.1 {
            // The dehydrated device has its keys among the user's; a new master key takes signatures along.
            let is_signing = matches!(good.writes, "signatures" | "cross_signing");
            let is_near = is_signing && part != "backup" && part != "messages";
            if part != good.writes && !is_near {
                assert_eq!(*was, after[part], "{part} after {told}");
            }
        }
        if let Err(why) = self.judge().await {
            panic!("{why}\nafter {told}");
        }
        self.restore(good).await;
    }

    /// Makes everything good again.
    async fn restore(&mut self, good: &Good) {
        self.sent += 1;
        let again = self.send(good, good.body.to_string().into_bytes()).await;
        again.ok();
    }
}

async fn mutate(lines: &[&str]) -> (usize, usize) {
    let mut world = World::new().await;
    let mut number = 0;
    for good in world.goods() {
        if !lines.iter().any(|line| good.line.contains(line)) {
            continue;
        }
        let mut all = Vec::new();
        places(&good.body, "", &mut all);
        for at in all {
            for body in changed(&good.body, &at) {
                number += 1;
                if number % every() == 0 {
                    world.try_one(&good, body).await;
                }
            }
        }
    }
    world.judge().await.unwrap();
    (world.taken, world.refused)
}

/// Runs it, and sees that it has found what is refused and what is taken: neither alone would be a test.
fn run(lines: &[&str], (taken_min, refused_min): (usize, usize)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (taken, refused) = runtime.block_on(mutate(lines));
    println!("{taken} taken, {refused} refused");
    assert!(
        taken >= taken_min.div_ceil(every()) && refused >= refused_min / every(),
        "{taken}, {refused}"
    );
}

#[test]
fn s07_nothing_malformed_is_stored_of_a_devices_keys() {
    run(&["keys/upload"], (10, 400));
}

#[test]
fn s07_nothing_malformed_is_stored_of_cross_signing_and_signatures() {
    run(&["keys/device_signing", "keys/signatures"], (10, 400));
}

#[test]
fn s07_nothing_malformed_is_stored_of_a_backup() {
    run(&["room_keys"], (10, 400));
}

#[test]
fn s07_nothing_malformed_is_stored_of_dehydrated_devices_and_messages() {
    run(&["dehydrated_device", "sendToDevice"], (10, 400));
}
