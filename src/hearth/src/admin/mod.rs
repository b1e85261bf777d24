//! What operators ask of a server: through its socket while it runs, on the store while it does not.

mod command;
mod media;
mod operator;
pub(crate) mod socket;

use std::sync::Arc;

use hearth_config::Config;

pub(crate) use self::command::Command;
pub(crate) use self::operator::Operator;
use crate::error::{Doing, Error, Result};
use crate::house::{House, open_store};
use crate::media::blobs_path;

impl House {
    /// The part that carries out commands.
    pub(crate) fn operator(&self, config: &Config) -> Operator {
        Operator {
            accounts: self.handles.client.accounts.clone(),
            media: self.handles.client.media.clone(),
            blobs: config
                .media
                .s3
                .is_none()
                .then(|| blobs_path(&config.data_dir)),
            rooms: self.handles.client.rooms.clone(),
            store: Arc::clone(&self.store),
            server_name: config.server_name.clone(),
            own_keys: self.handles.federation.own_keys.clone(),
        }
    }
}

/// Has the running server do it, or, if none runs, opens the store. The answer is text for a terminal.
pub(crate) async fn carry_out(command: Command, config: &Config) -> Result<String> {
    if let Some(answer) = socket::ask(&config.data_dir, &command).await? {
        return answer.map_err(Error::Refused);
    }
    if matches!(command, Command::KeysRotate) {
        // Not on a whole server: one whose key everybody knows would not start.
        let store = open_store(config)?;
        let rotated = operator::keys_rotate(&store).await;
        store.close().await.doing("could not close the store")?;
        return rotated;
    }
    let house = House::build(open_store(config)?, config).await?;
    let answer = house.operator(config).carry_out(command).await;
    house.close().await?;
    answer.map_err(|error| Error::Refused(error.chain()))
}

/// Refuses what must not be done while a server has the store open.
pub(crate) async fn must_be_stopped(config: &Config) -> Result<()> {
    match socket::ask(&config.data_dir, &Command::Ping).await? {
        Some(_) => Err(Error::refused("the server is running: stop it first")),
        None => Ok(()),
    }
}
