//! Application services: their registration files, and the part that talks to them.

use std::sync::Arc;

use hearth_accounts::Accounts;
use hearth_appservice::{AppServices, Registration, Registrations};
use hearth_config::Config;
use hearth_data::state::States;
use hearth_ports::HttpOut;
use ruma::ServerName;

use crate::error::{Doing, Result};
use crate::federation::Ground;
use crate::outside::{self, Reach};

/// What the settings register.
pub(crate) fn registrations(config: &Config, server_name: &ServerName) -> Result<Registrations> {
    let mut registrations = Vec::with_capacity(config.application_services.len());
    for path in &config.application_services {
        let reading = || format!("application_services: could not read {}", path.display());
        let text = std::fs::read_to_string(path).doing(reading())?;
        registrations.push(Registration::from_yaml(&text).doing(reading())?);
    }
    Registrations::new(server_name, registrations).doing("application_services cannot be used")
}

/// The part that tells services what happens.
pub(crate) fn open(
    registrations: Arc<Registrations>,
    (ground, states): (&Ground, &Arc<States>),
    (http, config): (&Arc<dyn HttpOut>, &Config),
) -> Result<AppServices> {
    let (tasks, shutdown) = (&ground.tasks, &ground.shutdown);
    let http = match registrations.is_empty() {
        true => http.clone(),
        // The administrator has named their addresses: mostly this machine.
        false => Arc::new(outside::egress(config, Reach::Anywhere, tasks, shutdown)?),
    };
    let parts = hearth_appservice::Parts {
        store: ground.store.clone(),
        states: states.clone(),
        clock: ground.clock.clone(),
        http,
        tasks: ground.tasks.clone(),
        shutdown: ground.shutdown.clone(),
    };
    Ok(AppServices::new(parts, registrations))
}

/// Makes the users that services are when they do not say.
pub(crate) async fn make_users(services: &AppServices, accounts: &Accounts) -> Result<()> {
    for (id, user_id) in services.registrations().senders() {
        accounts
            .ensure_service_user(id, user_id)
            .await
            .doing(format!(
                "could not make {user_id} of application service `{id}`"
            ))?;
    }
    Ok(())
}
