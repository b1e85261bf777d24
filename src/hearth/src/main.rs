//! The server program: builds the parts, runs them, ends them in order; and the commands of operators.
//!
//! The only crate that sees all parts and names a storage backend. [`house`] builds the parts, [`serve`] runs them,
//! [`admin`] has the commands that the running server carries out for `hearth user` and the like.

mod admin;
mod backup;
mod cli;
mod error;
mod federation;
mod fsck;
mod healthcheck;
mod house;
mod identity;
mod logging;
mod media;
mod memory;
mod metrics;
mod outside;
mod serve;
mod services;

use std::process::ExitCode;

use clap::Parser;
use hearth_config::Config;

use crate::cli::{BackupVerb, Cli, ConfigVerb, Verb};
use crate::error::{Doing, Result};

/// Threads that run requests. More gain little: the store has its own.
const WORKERS_MAX: usize = 8;
/// Threads for what blocks: password hashes, files.
const BLOCKING_THREADS_MAX: usize = 16;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hearth: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let config = cli.settings.sources().load()?;
    let verb = cli.command.as_ref().unwrap_or(&Verb::Serve);
    match verb {
        Verb::Config(ConfigVerb::Check) => println!("the settings are valid"),
        Verb::Config(ConfigVerb::Print) => print!("{}", config.to_toml()),
        Verb::Serve => {
            logging::start(&config.log)?;
            many_threads()?.block_on(serve::serve(&config))?;
        }
        _ => one_thread()?.block_on(command(verb, &config))?,
    }
    Ok(())
}

/// Everything but serving and looking at settings.
async fn command(verb: &Verb, config: &Config) -> Result<()> {
    match verb {
        Verb::Backup(BackupVerb::Verify { folder }) => backup::verify(folder).await,
        Verb::Backup(BackupVerb::Restore { folder }) => backup::restore(folder, config).await,
        Verb::Fsck => fsck::run(config).await,
        Verb::Healthcheck => healthcheck::healthcheck(config).await,
        verb => {
            let command = admin::Command::from_cli(verb)?;
            print!("{}", admin::carry_out(command, config).await?);
            Ok(())
        }
    }
}

fn many_threads() -> Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.clamp(2, WORKERS_MAX))
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("hearth")
        .enable_all()
        .build()
        .doing("could not start the runtime")
}

fn one_thread() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .doing("could not start the runtime")
}
