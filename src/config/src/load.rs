//! From files, environment and flags to settings.

use std::path::{Path, PathBuf};

use figment::error::Kind;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::Value;
use figment::{Figment, Metadata, Source};

use crate::check::check;
use crate::{Config, Secret};

/// Prefix of environment variables.
const ENV_PREFIX: &str = "HEARTH_";
/// Variables with that prefix that are not settings: the files to read, and what test runners set.
const ENV_OTHER: [&str; 2] = ["config", "bin"];
/// How alike two names have to be for one to be suggested for the other (Jaro-Winkler, 0 to 1).
const SUGGESTION_LIKENESS_MIN: f64 = 0.75;

/// Where settings are read from. Later ones win: defaults, files in their order, environment, flags.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// TOML files. Each has to exist.
    pub files: Vec<PathBuf>,
    /// Settings from the command line, as path and value: `("registration.open", "false")`.
    pub flags: Vec<(String, String)>,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("could not read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// A value is missing, of the wrong type, or of an unknown name.
    #[error("{0}")]
    Value(String),
    /// Each value is fine, but not these together.
    #[error("{0}")]
    Conflict(String),
}

impl Sources {
    /// Reads and checks everything.
    pub fn load(&self) -> Result<Config, Error> {
        let mut figment = Figment::from(Serialized::defaults(Config::default()));
        for path in &self.files {
            // figment takes a missing file for an empty one.
            read(path)?;
            figment = figment.merge(Toml::file_exact(path));
        }
        figment = figment.merge(Env::prefixed(ENV_PREFIX).ignore(&ENV_OTHER).split("__"));
        for (key, value) in &self.flags {
            let Ok(value) = value.parse::<Value>();
            figment = figment.merge(Serialized::default(key, value));
        }
        let mut config: Config = figment.extract().map_err(|error| explain(&error))?;
        read_secrets(&mut config)?;
        check(&config)?;
        Ok(config)
    }
}

/// Replaces each `…_file` by what is in it.
fn read_secrets(config: &mut Config) -> Result<(), Error> {
    let Config {
        registration, turn, ..
    } = config;
    let secrets = [
        (
            "registration",
            &mut registration.shared_secret,
            &mut registration.shared_secret_file,
        ),
        (
            "turn",
            &mut turn.shared_secret,
            &mut turn.shared_secret_file,
        ),
    ];
    for (table, secret, file) in secrets {
        let Some(path) = file.take() else { continue };
        if secret.is_some() {
            return Err(Error::Conflict(format!(
                "{table}.shared_secret and {table}.shared_secret_file are both set: keep one"
            )));
        }
        *secret = Some(Secret::new(read(&path)?.trim()));
    }
    if let Some(s3) = &mut config.media.s3
        && let Some(path) = s3.secret_key_file.take()
    {
        if s3.secret_key.is_some() {
            return Err(Error::Conflict(
                "media.s3.secret_key and media.s3.secret_key_file are both set: keep one"
                    .to_owned(),
            ));
        }
        s3.secret_key = Some(Secret::new(read(&path)?.trim()));
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|cause| Error::File {
        path: path.to_owned(),
        cause,
    })
}

/// Every error that figment found, one a line, unknown names with the nearest known one.
fn explain(errors: &figment::Error) -> Error {
    let lines: Vec<String> = errors.clone().into_iter().map(explain_one).collect();
    Error::Value(lines.join("\n"))
}

fn explain_one(error: figment::Error) -> String {
    let Kind::UnknownField(name, known) = &error.kind else {
        return error.to_string();
    };
    // The path ends in the unknown name itself.
    let mut path = error.path.clone();
    if path.last() != Some(name) {
        path.push(name.clone());
    }
    let mut line = format!("unknown setting `{}`", path.join("."));
    match &error.metadata {
        // figment names a flag by the place in our code.
        Some(Metadata {
            source: Some(Source::Code(_)),
            ..
        }) => line.push_str(" on the command line"),
        Some(Metadata { name, source, .. }) => {
            line.push_str(&format!(" in {name}"));
            if let Some(source) = source {
                line.push_str(&format!(" {source}"));
            }
        }
        None => {}
    }
    if let Some(nearest) = nearest(name, known) {
        path.pop();
        path.push(nearest.to_owned());
        line.push_str(&format!("; did you mean `{}`?", path.join(".")));
    }
    line
}

fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|known| (strsim::jaro_winkler(name, known), *known))
        .filter(|(likeness, _)| *likeness >= SUGGESTION_LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests;
