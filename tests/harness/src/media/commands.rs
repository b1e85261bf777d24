//! What administrators do with files of a running server, and with backups of them.

use std::path::{Path, PathBuf};

use super::{
    blobs, files, no_panics,
    wire::{Content, Wire},
};
use crate::{
    Result,
    server::{Server, Setup},
};

const COMMON: Content = Content {
    seed: 1,
    length: 600_000,
};
const OTHER: Content = Content {
    seed: 2,
    length: 300_000,
};

fn expect(holds: bool, what: &str) -> Result<()> {
    match holds {
        true => Ok(()),
        false => Err(what.into()),
    }
}

/// What a command says that must fail, if it says `part` of it.
fn refusal(setup: &Setup, arguments: &[&str], part: &str) -> Result<()> {
    match setup.run(arguments) {
        Ok(told) => Err(format!("{arguments:?} should have failed: {told}").into()),
        Err(error) if error.to_string().contains(part) => Ok(()),
        Err(error) => Err(format!("{arguments:?} should have said `{part}`: {error}").into()),
    }
}

async fn expect_status(wire: &Wire, uri: &str, status: u16) -> Result<()> {
    let told = wire.status(uri).await?;
    let said = format!(
        "{uri}: status {} {}, {status} expected",
        told.status, told.body
    );
    expect(told.status == status, &said)
}

/// Every command of `hearth media`, on a running server.
pub(super) async fn media(folder: &Path) -> Result<String> {
    let server = Server::start(Setup::new(folder)?).await?;
    let (anna, ben) = (
        server.http.register("anna").await?,
        server.http.register("ben").await?,
    );
    let (hers, his) = (
        Wire::new(server.setup.port, &anna),
        Wire::new(server.setup.port, &ben),
    );
    let first = hers.upload(COMMON).await?;
    let second = hers.upload(COMMON).await?;
    let third = his.upload(COMMON).await?;
    let other = his.upload(OTHER).await?;
    let setup = &server.setup;
    let on_disk = || files(&blobs(&setup.data())).map(|files| files.len());
    expect(on_disk()? == 2, "the same bytes are kept once")?;
    listing(setup, &[&first, &second], &[&third, &other])?;

    let told = setup.run(&["media", "quarantine", &first])?;
    expect(told.contains("not served any more"), &told)?;
    for uri in [&first, &second, &third] {
        expect_status(&hers, uri, 404).await?;
    }
    expect_status(&hers, &other, 200).await?;
    let refused = his.upload(COMMON).await;
    let refused = refused
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    expect(
        refused.contains("403"),
        &format!("a blocked content came again: {refused}"),
    )?;
    let told = setup.run(&["media", "show", &third])?;
    expect(told.contains("quarantined"), &told)?;
    setup.run(&["media", "quarantine", "--lift", &first])?;
    hers.compare(&first, COMMON, None).await?;

    let told = setup.run(&["media", "delete", &first])?;
    expect(told.contains("removed"), &told)?;
    expect_status(&hers, &first, 404).await?;
    hers.compare(&second, COMMON, None).await?;
    let told = setup.run(&["media", "delete", "--user", "anna"])?;
    expect(told.contains("removed 1 files"), &told)?;
    his.compare(&third, COMMON, None).await?;
    setup.run(&["media", "delete", &third])?;
    expect(on_disk()? == 1, "bytes go with their last user")?;
    let told = setup.run(&["media", "sweep"])?;
    expect(told.contains(" 0 files on the disk"), &told)?;
    refusals(setup, &first)?;
    let setup = server.stop().await?;
    // Without a server, the same on the store.
    let told = setup.run(&["media", "list"])?;
    expect(told.contains(&other), &told)?;
    setup.fsck()?;
    no_panics(&setup)?;
    Ok(
        "list, show, delete, quarantine, sweep, their refusals, with and without a server"
            .to_owned(),
    )
}

fn listing(setup: &Setup, hers: &[&String], his: &[&String]) -> Result<()> {
    let all = setup.run(&["media", "list"])?;
    let of_anna = setup.run(&["media", "list", "--user", "anna"])?;
    for uri in hers {
        expect(all.contains(*uri), &format!("{uri} is not listed:\n{all}"))?;
        expect(
            of_anna.contains(*uri),
            &format!("{uri} is not hers:\n{of_anna}"),
        )?;
    }
    for uri in his {
        expect(all.contains(*uri), &format!("{uri} is not listed:\n{all}"))?;
        expect(
            !of_anna.contains(*uri),
            &format!("{uri} is listed as hers:\n{of_anna}"),
        )?;
    }
    expect(of_anna.contains("1200000 bytes in all"), &of_anna)?;
    let shown = setup.run(&["media", "show", hers[0]])?;
    expect(
        shown.contains("noise.bin") && shown.contains("@anna:localhost"),
        &shown,
    )
}

fn refusals(setup: &Setup, gone: &str) -> Result<()> {
    for verb in ["show", "delete", "quarantine"] {
        refusal(setup, &["media", verb, gone], "there is no")?;
        refusal(
            setup,
            &["media", verb, "https://localhost/x"],
            "not an mxc:// URI",
        )?;
    }
    refusal(setup, &["media", "delete"], "required")?;
    refusal(
        setup,
        &["media", "delete", gone, "--user", "anna"],
        "cannot be used with",
    )?;
    refusal(
        setup,
        &["media", "list", "--user", "nobody"],
        "there is no user",
    )
}

/// A backup of a server to which files are uploaded meanwhile, restored elsewhere; and damage, which is found.
pub(super) async fn backup(folder: &Path) -> Result<String> {
    let server = Server::start(Setup::new(folder)?).await?;
    let anna = server.http.register("anna").await?;
    let wire = Wire::new(server.setup.port, &anna);
    let kept = [
        (wire.upload(COMMON).await?, COMMON),
        (wire.upload(OTHER).await?, OTHER),
    ];
    let copy = folder.join("copy");
    let copy_text = copy.to_string_lossy().into_owned();
    let mut meanwhile = tokio::task::JoinSet::new();
    let uploader = wire.clone();
    meanwhile.spawn(async move { more(&uploader).await });
    let (setup, arguments) = (server.setup.clone(), copy_text.clone());
    let told = tokio::task::spawn_blocking(move || setup.run(&["backup", "create", &arguments]));
    told.await??;
    let later = meanwhile.join_next().await.ok_or("no uploads")???;
    let setup = server.stop().await?;
    setup.fsck()?;
    let told = setup.run(&["backup", "verify", &copy_text])?;
    expect(told.contains("is a good backup"), &told)?;
    refusal(&setup, &["backup", "restore", &copy_text], "already there")?;

    let restored = folder.join("restored");
    std::fs::create_dir_all(&restored)?;
    let elsewhere = Setup {
        folder: restored,
        ..setup.clone()
    };
    elsewhere.run(&["backup", "restore", &copy_text])?;
    elsewhere.fsck()?;
    let server = Server::start(elsewhere).await?;
    for (uri, content) in &kept {
        wire.compare(uri, *content, None).await?;
    }
    let mut in_it = 0;
    for (uri, content) in &later {
        match wire.status(uri).await?.status {
            404 => {}
            _ => {
                wire.compare(uri, *content, None).await?;
                in_it += 1;
            }
        }
    }
    let elsewhere = server.stop().await?;
    damage(&setup, &elsewhere, &copy)?;
    no_panics(&setup)?;
    Ok(format!(
        "{} files restored, {in_it} of {} that came meanwhile; a damaged and a missing file are found",
        kept.len(),
        later.len()
    ))
}

async fn more(wire: &Wire) -> Result<Vec<(String, Content)>> {
    let mut uploaded = Vec::new();
    for seed in 100..130 {
        let content = Content {
            seed,
            length: 100_000,
        };
        uploaded.push((wire.upload(content).await?, content));
    }
    Ok(uploaded)
}

/// The file of [`COMMON`]: others may have come too late to be in a backup's rows.
fn one_of(data: &Path) -> Result<PathBuf> {
    for path in files(&blobs(data))? {
        if std::fs::metadata(&path)?.len() == COMMON.length {
            return Ok(path);
        }
    }
    Err("the file is not there".into())
}

/// One byte of the backup, which shares its files with the server that it was made of, and one file that is gone.
fn damage(setup: &Setup, elsewhere: &Setup, copy: &Path) -> Result<()> {
    let path = one_of(copy)?;
    let mut bytes = std::fs::read(&path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes)?;
    let copy = copy.to_string_lossy();
    refusal(setup, &["backup", "verify", &copy], "missing or damaged")?;
    std::fs::remove_file(one_of(&elsewhere.data())?)?;
    refusal(elsewhere, &["fsck"], "missing or damaged")
}
