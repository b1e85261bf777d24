//! A unix socket in the data folder: one command and one answer per connection, each a line of JSON.
//!
//! Whoever may open the data folder may administrate the server: the socket lies in a folder of the owner only, and
//! the other end has to be the owner or root.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Command, Operator};
use crate::error::{Doing, Error, Result};
use crate::house::private_folder;

/// Longest command, in bytes.
const COMMAND_BYTES_MAX: u64 = 64 << 10;
/// Commands at once.
const COMMANDS_MAX: usize = 16;
/// Time to send a command.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// What the server answers: text, or why not.
pub(crate) type Answer = std::result::Result<String, String>;

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("run").join("admin.sock")
}

/// Opens the socket. The store's lock is held, so that a socket that is already there belongs to nobody.
pub(crate) fn listen(data_dir: &Path) -> Result<UnixListener> {
    let path = path(data_dir);
    if let Some(folder) = path.parent() {
        private_folder(folder)?;
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).doing(format!("could not remove {}", path.display()));
        }
        _ => {}
    }
    UnixListener::bind(&path).doing(format!("could not open the socket {}", path.display()))
}

/// Answers commands until shutdown.
pub(crate) async fn run(listener: UnixListener, operator: Operator, shutdown: CancellationToken) {
    let permits = Arc::new(Semaphore::new(COMMANDS_MAX));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "could not accept a command");
                continue;
            }
        };
        let Ok(permit) = permits.clone().acquire_owned().await else {
            break;
        };
        let operator = operator.clone();
        tasks.spawn(async move {
            if let Err(error) = serve(stream, &operator).await {
                tracing::debug!(error = error.chain(), "a command was not answered");
            }
            drop(permit);
        });
    }
    tasks.close();
    tasks.wait().await;
}

async fn serve(stream: UnixStream, operator: &Operator) -> Result<()> {
    let peer = stream.peer_cred().doing("could not see who asks")?;
    let own = std::fs::metadata("/proc/self").doing("could not see who I am")?;
    if peer.uid() != own.uid() && peer.uid() != 0 {
        return Err(Error::refused("a command of another user"));
    }
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(COMMAND_BYTES_MAX));
    tokio::time::timeout(READ_TIMEOUT, reader.read_line(&mut line))
        .await
        .doing("a command did not arrive in time")?
        .doing("could not read a command")?;
    let answer: Answer = match serde_json::from_str::<Command>(&line) {
        Ok(command) => operator
            .carry_out(command)
            .await
            .map_err(|error| error.chain()),
        Err(_) => Err("this server does not know the command; is it of the same version?".into()),
    };
    let answer = serde_json::to_string(&answer).doing("could not write an answer")?;
    let sent = writer.write_all(answer.as_bytes()).await;
    sent.doing("could not send an answer")
}

/// Asks the running server; `None` if none runs.
pub(crate) async fn ask(data_dir: &Path, command: &Command) -> Result<Option<Answer>> {
    let mut stream = match UnixStream::connect(path(data_dir)).await {
        Ok(stream) => stream,
        Err(error)
            if [ErrorKind::NotFound, ErrorKind::ConnectionRefused].contains(&error.kind()) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error).doing("could not reach the running server"),
    };
    let mut line = serde_json::to_string(command).doing("could not write the command")?;
    line.push('\n');
    let sent = stream.write_all(line.as_bytes()).await;
    sent.doing("could not send the command")?;
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer).await;
    read.doing("could not read the server's answer")?;
    let answer = serde_json::from_str(&answer).doing("the server gave no answer")?;
    Ok(Some(answer))
}
