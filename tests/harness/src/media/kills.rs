//! kill -9 while users upload: what was acknowledged is there, nothing half-written is ever served, and no bytes stay
//! behind that nobody knows.

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::Method;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use super::{
    blobs, files, no_panics,
    wire::{Content, Wire},
};
use crate::{
    Result,
    client::{User, text},
    server::{Server, Setup},
};

/// Users that upload at once.
const UPLOADERS: usize = 4;
/// So many acknowledged uploads between two kills, up to.
const ACKNOWLEDGED_MAX: u64 = 12;
/// Longest file, in bytes.
const LENGTH_MAX: u64 = 3 << 20;
/// Contents that are uploaded again and again.
const COMMON: u64 = 4;
/// A round that has not brought them by then has failed.
const ROUND_SECONDS_MAX: u64 = 120;

/// A file whose upload was answered with 200, or one that was reserved and may have arrived.
type Named = (String, Content);

/// What uploads have come to.
#[derive(Debug, Default)]
struct Ledger {
    acknowledged: Vec<Named>,
    open: Vec<Named>,
    /// Files that were being written at a kill.
    half: usize,
    /// Reserved files that arrived though nobody was told.
    arrived: usize,
}

/// Runs all rounds; an error is a finding.
pub(super) async fn run(rounds: usize, seed: u64, folder: &Path) -> Result<String> {
    let mut random = StdRng::seed_from_u64(seed);
    let server = Server::start(Setup::new(folder)?).await?;
    let mut users = Vec::new();
    for number in 0..UPLOADERS {
        users.push(server.http.register(&format!("uploader{number}")).await?);
    }
    let mut setup = server.stop().await?;
    let mut ledger = Ledger::default();
    for round in 0..rounds {
        let enough = random.random_range(1..=ACKNOWLEDGED_MAX);
        let done = kill(setup, &users, &mut ledger, (random.random(), enough)).await;
        setup = done.map_err(|error| format!("round {round}, seed {seed}: {error}"))?;
    }
    let setup = clean(setup, &users, &mut ledger).await?;
    no_panics(&setup)?;
    if ledger.half == 0 {
        return Err("no kill came while a file was being written: this says nothing".into());
    }
    Ok(format!(
        "{rounds} kills, {} acknowledged uploads whole, {} files half-written and gone, {} arrived unacknowledged and whole",
        ledger.acknowledged.len(),
        ledger.half,
        ledger.arrived
    ))
}

/// One start, much uploading, one kill, one check of the store.
async fn kill(
    setup: Setup,
    users: &[User],
    ledger: &mut Ledger,
    (seed, enough): (u64, u64),
) -> Result<Setup> {
    let server = Server::start(setup).await?;
    judge(&server, users, ledger).await?;
    let count = Arc::new(AtomicU64::new(0));
    let mut uploading = JoinSet::new();
    for (number, user) in (0_u64..).zip(users) {
        let user = User {
            http: server.http.clone(),
            ..user.clone()
        };
        let random = StdRng::seed_from_u64(seed.wrapping_add(number));
        uploading.spawn(upload(user, server.setup.port, random, count.clone()));
    }
    let deadline = Instant::now() + Duration::from_secs(ROUND_SECONDS_MAX);
    while count.load(Ordering::Relaxed) < enough && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    let setup = server.kill()?;
    while let Some(done) = uploading.join_next().await {
        let (acknowledged, open) = done?;
        ledger.acknowledged.extend(acknowledged);
        ledger.open.extend(open);
    }
    let reached = count.load(Ordering::Relaxed);
    if reached < enough {
        return Err(format!("{reached} of {enough} uploads within {ROUND_SECONDS_MAX} s").into());
    }
    ledger.half += files(&incoming(&setup))?.len();
    setup.fsck()?;
    Ok(setup)
}

fn incoming(setup: &Setup) -> std::path::PathBuf {
    setup.data().join("media").join("incoming")
}

/// Uploads until the server is gone. Answers what was acknowledged, and what was reserved but not acknowledged.
async fn upload(
    user: User,
    port: u16,
    mut random: StdRng,
    count: Arc<AtomicU64>,
) -> (Vec<Named>, Vec<Named>) {
    let wire = Wire::new(port, &user);
    let (mut acknowledged, mut open) = (Vec::new(), Vec::new());
    loop {
        let content = content(&mut random);
        let uri = match random.random_bool(0.5) {
            true => wire.upload(content).await,
            false => match reserve(&user).await {
                Ok(uri) => match wire.upload_reserved(&uri, content).await {
                    Ok(told) if told.status == 200 => Ok(uri),
                    _ => {
                        open.push((uri, content));
                        return (acknowledged, open);
                    }
                },
                Err(error) => Err(error),
            },
        };
        match uri {
            Ok(uri) => acknowledged.push((uri, content)),
            // The server is gone. That it was no refusal, the count of acknowledged uploads says.
            Err(_) => return (acknowledged, open),
        }
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn content(random: &mut StdRng) -> Content {
    match random.random_range(0..4) {
        // The same bytes as others send.
        0 => Content {
            seed: random.random_range(0..COMMON),
            length: 700_000,
        },
        1 => Content {
            seed: random.random(),
            length: random.random_range(0..5) * (256 << 10),
        },
        _ => Content {
            seed: random.random(),
            length: random.random_range(0..LENGTH_MAX),
        },
    }
}

async fn reserve(user: &User) -> Result<String> {
    let path = "/_matrix/media/v1/create";
    let answer = user.ask(Method::POST, path, &json!({})).await?.ok()?;
    text(&answer, "content_uri")
}

/// Whether everything is as it was said to be; what of the open files has arrived is acknowledged from then on.
async fn judge(server: &Server, users: &[User], ledger: &mut Ledger) -> Result<()> {
    let left = files(&incoming(&server.setup))?;
    if !left.is_empty() {
        return Err(format!("half-written files are left after a start: {left:?}").into());
    }
    let wire = Wire::new(server.setup.port, &users[0]);
    for (uri, content) in &ledger.acknowledged {
        wire.compare(uri, *content, None).await?;
    }
    for (uri, content) in std::mem::take(&mut ledger.open) {
        let told = wire.status(&uri).await?;
        match (told.status, told.body["errcode"].as_str()) {
            (200, _) => {
                wire.compare(&uri, content, None).await?;
                ledger.arrived += 1;
                ledger.acknowledged.push((uri, content));
            }
            (504, Some("M_NOT_YET_UPLOADED")) => {}
            _ => return Err(format!("{uri}: {} {}", told.status, told.body).into()),
        }
    }
    Ok(())
}

/// In the end the sweep finds what nobody knows, and when all files are removed, no bytes are left.
async fn clean(setup: Setup, users: &[User], ledger: &mut Ledger) -> Result<Setup> {
    plant(&setup)?;
    let server = Server::start(setup).await?;
    judge(&server, users, ledger).await?;
    let setup = &server.setup;
    let swept = setup.run(&["media", "sweep"])?;
    if !swept.contains(" files on the disk") || swept.contains(" 0 files on the disk") {
        return Err(format!("the sweep did not find the file that nobody knows: {swept}").into());
    }
    let again = setup.run(&["media", "sweep"])?;
    if !again.contains(" 0 files on the disk") {
        return Err(format!("the sweep left something: {again}").into());
    }
    judge(&server, users, ledger).await?;
    // Files of uploads that nobody was told of may be there, too; each is a file of one of these users.
    let there = files(&blobs(&setup.data()))?.len();
    let distinct = ledger.acknowledged.iter().map(|(_, content)| *content);
    // Shorter ones do not tell themselves apart.
    let known: HashSet<Content> = distinct.filter(|content| content.length >= 16).collect();
    if there < known.len() {
        return Err(format!("{there} files on the disk for {} contents", known.len()).into());
    }
    for user in users {
        setup.run(&["media", "delete", "--user", &user.id])?;
    }
    let left = files(&blobs(&setup.data()))?;
    if !left.is_empty() {
        return Err(format!("all media are removed, but there are still {left:?}").into());
    }
    let setup = server.stop().await?;
    setup.fsck()?;
    Ok(setup)
}

/// What a crash may leave behind, for certain: a whole file that no row knows, and half a file on its way in.
fn plant(setup: &Setup) -> Result<()> {
    let folder = blobs(&setup.data()).join("ab").join("cd");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(
        folder.join(format!("abcd{}", "0".repeat(60))),
        b"nobody knows this",
    )?;
    std::fs::write(incoming(setup).join("half"), b"half")?;
    Ok(())
}
