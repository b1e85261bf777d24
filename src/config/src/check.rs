//! Settings that are each fine but do not go together, and mistakes that are better said at the start.

use crate::load::Error;
use crate::{ByteSize, Config, Rate};

/// Room versions that new rooms may have.
const ROOM_VERSIONS: std::ops::RangeInclusive<u8> = 1..=12;
/// Less memory than this cannot hold the process and the write buffers.
const MEMORY_LIMIT_MIN: ByteSize = ByteSize::mebibytes(64);

pub(crate) fn check(config: &Config) -> Result<(), Error> {
    names(config)?;
    listeners(config)?;
    open_registration(config)?;
    documents(config)?;
    calls(config)?;
    sizes(config)?;
    media(config)?;
    retention(config)?;
    rates(config)
}

fn conflict(message: impl Into<String>) -> Result<(), Error> {
    Err(Error::Conflict(message.into()))
}

fn names(config: &Config) -> Result<(), Error> {
    let name = &config.server_name;
    // The whole grammar is checked by the part that makes user ids of it.
    if name.is_empty() || name.contains(['/', '@', ' ']) || name.len() > 230 {
        return conflict(format!(
            "server_name `{name}` is not a host name: it is what follows the colon in user ids, \
             such as `example.org`, without `https://`"
        ));
    }
    let version = &config.room.default_version;
    if !version
        .parse()
        .is_ok_and(|version: u8| ROOM_VERSIONS.contains(&version))
    {
        return conflict(format!(
            "room.default_version `{version}` is none of the room versions 1 to 12"
        ));
    }
    for (setting, url) in [("well_known.client", &config.well_known.client)] {
        if let Some(url) = url
            && !(url.starts_with("https://") || url.starts_with("http://"))
        {
            return conflict(format!(
                "{setting} `{url}` has to begin with https:// (or http://)"
            ));
        }
    }
    if let Some(server) = &config.well_known.server
        && server.contains('/')
    {
        return conflict(format!(
            "well_known.server `{server}` has to be host or host:port, without https://"
        ));
    }
    Ok(())
}

fn listeners(config: &Config) -> Result<(), Error> {
    let tls = &config.tls;
    if config.listen.is_empty() && tls.listen.is_empty() {
        return conflict("neither listen nor tls.listen has an address");
    }
    if !tls.listen.is_empty() && (tls.certificate.is_none() || tls.key.is_none()) {
        return conflict("tls.listen needs tls.certificate and tls.key");
    }
    Ok(())
}

/// Anybody may make accounts only where nobody else can reach the server, or where that is said twice.
fn open_registration(config: &Config) -> Result<(), Error> {
    let registration = &config.registration;
    if !registration.open || registration.token_required || registration.allow_open {
        return Ok(());
    }
    let mut addresses = config.listen.iter().chain(&config.tls.listen);
    let reach = match addresses.find(|address| !address.ip().is_loopback()) {
        Some(address) => format!("listening on {address}"),
        None if !config.trusted_proxies.is_empty() => "behind a proxy (trusted_proxies)".to_owned(),
        None => return Ok(()),
    };
    conflict(format!(
        "registration is open to anyone, and the server can be reached by others ({reach}): set \
         registration.open = false, or registration.token_required = true, or confirm it with \
         registration.allow_open = true"
    ))
}

/// Terms and contacts.
fn documents(config: &Config) -> Result<(), Error> {
    let mut seen = std::collections::HashSet::new();
    for policy in &config.terms {
        let named = format!("terms `{}`", policy.id);
        let opaque = |text: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            (1..=255).contains(&text.len()) && text.bytes().all(allowed)
        };
        if !opaque(&policy.id) || !opaque(&policy.version) {
            return conflict(format!(
                "{named}: id and version have 1 to 255 of the characters A-Z, a-z, 0-9 and -._~"
            ));
        }
        if !policy.url.starts_with("https://") && !policy.url.starts_with("http://") {
            return conflict(format!("{named}: url has to begin with https://"));
        }
        if policy.language == "version" || policy.language.is_empty() {
            return conflict(format!("{named}: language has to be one, such as \"en\""));
        }
        if !seen.insert((&policy.id, &policy.language)) {
            return conflict(format!("{named} is there twice in `{}`", policy.language));
        }
        let same = |other: &&crate::Policy| other.id == policy.id;
        if config
            .terms
            .iter()
            .filter(same)
            .any(|other| other.version != policy.version)
        {
            return conflict(format!("{named} has two versions"));
        }
    }
    let contacts = &config.well_known.contacts;
    match contacts
        .iter()
        .any(|contact| contact.matrix_id.is_none() && contact.email_address.is_none())
    {
        true => conflict("well_known.contacts: each needs matrix_id or email_address"),
        false => Ok(()),
    }
}

fn calls(config: &Config) -> Result<(), Error> {
    let turn = &config.turn;
    for uri in &turn.uris {
        if !uri.starts_with("turn:") && !uri.starts_with("turns:") {
            return conflict(format!(
                "turn.uris: `{uri}` has to begin with turn: or turns:"
            ));
        }
    }
    match turn.uris.is_empty() == turn.shared_secret.is_none() {
        true => Ok(()),
        false => conflict("turn.uris and turn.shared_secret (or its file) go together"),
    }
}

fn sizes(config: &Config) -> Result<(), Error> {
    if config.memory_limit < MEMORY_LIMIT_MIN {
        return conflict(format!(
            "memory_limit {} is too small: at least {MEMORY_LIMIT_MIN}",
            config.memory_limit
        ));
    }
    if config.limits.body < ByteSize::mebibytes(1) {
        return conflict("limits.body has to be at least 1 MiB, or large events do not fit");
    }
    if config.limits.connections == 0 {
        return conflict("limits.connections has to be at least 1");
    }
    // Argon2 needs 8 KiB for its one lane.
    if config.password.iterations == 0 || config.password.memory.bytes() < 8 << 10 {
        return conflict("password.iterations has to be at least 1, password.memory 8 KiB");
    }
    if !(1..=512).contains(&config.password.min_length) {
        return conflict("password.min_length has to be between 1 and 512");
    }
    Ok(())
}

fn media(config: &Config) -> Result<(), Error> {
    let media = &config.media;
    if media.upload < ByteSize::mebibytes(1) {
        return conflict("media.upload has to be at least 1 MiB");
    }
    if !(1..=1_000).contains(&media.image_megapixels) {
        return conflict("media.image_megapixels has to be 1 to 1000");
    }
    match &media.s3 {
        Some(s3) if s3.secret_key.is_none() => {
            conflict("media.s3 needs secret_key or secret_key_file")
        }
        _ => Ok(()),
    }
}

fn retention(config: &Config) -> Result<(), Error> {
    let retention = &config.retention;
    let (min, max) = (retention.min_lifetime, retention.max_lifetime);
    match min <= max {
        true => Ok(()),
        false => conflict(format!(
            "retention.min_lifetime {min} is longer than retention.max_lifetime {max}: \
             for nothing to be kept longer than {max}, say the same or less for min_lifetime"
        )),
    }
}

fn rates(config: &Config) -> Result<(), Error> {
    let rates = &config.rate_limits;
    for (name, Rate { per_minute, burst }) in [
        ("login", rates.login),
        ("send", rates.send),
        ("read", rates.read),
    ] {
        if per_minute == 0 || burst == 0 {
            return conflict(format!(
                "rate_limits.{name} allows nothing: both numbers have to be at least 1 \
                 (rate_limits.enabled = false switches all off)"
            ));
        }
    }
    Ok(())
}
