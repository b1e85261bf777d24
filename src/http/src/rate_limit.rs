//! How much one user or one address may ask.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use hearth_config::{Rate, RateLimits};
use http::Method;
use quick_cache::sync::Cache;
use ruma::OwnedUserId;
use ruma::api::Metadata;
use ruma::api::path_builder::PathBuilder;

/// Users and addresses remembered per class. The one least in use is forgotten, which only gives it a fresh start;
/// so a flood of addresses costs bounded memory.
const KEYS_MAX: usize = 50_000;

/// What a request costs, by what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Tries to get a token.
    Login,
    /// Changes something.
    Send,
    /// Anything else.
    Read,
}

impl Class {
    /// The class of an endpoint.
    pub(crate) fn of<T: Metadata>() -> Self {
        if T::METHOD == Method::GET {
            return Self::Read;
        }
        let is_login = T::PATH_BUILDER.all_paths().any(|path| {
            ["/login", "/register", "/refresh"]
                .iter()
                .any(|end| path.ends_with(end))
        });
        if is_login { Self::Login } else { Self::Send }
    }
}

/// Who is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    User(OwnedUserId),
    Address(IpAddr),
}

impl Key {
    /// An IPv4 address, or the network that one customer gets of IPv6.
    pub(crate) fn address(address: IpAddr) -> Self {
        Self::Address(match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => IpAddr::V4(v4),
                None => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (!0 << 64))),
            },
        })
    }
}

/// The limits of all classes; nothing is limited where they are off.
#[derive(Default)]
pub(crate) struct Limiter(Option<Classes>);

struct Classes {
    login: Keyed,
    send: Keyed,
    read: Keyed,
}

impl Limiter {
    pub(crate) fn new(settings: &RateLimits) -> Self {
        Self(settings.enabled.then(|| Classes {
            login: Keyed::new(settings.login),
            send: Keyed::new(settings.send),
            read: Keyed::new(settings.read),
        }))
    }

    /// Counts one request, or says how long to wait.
    pub(crate) fn check(&self, class: Class, key: Key) -> Result<(), Duration> {
        let Some(classes) = &self.0 else {
            return Ok(());
        };
        match class {
            Class::Login => classes.login.check(key),
            Class::Send => classes.send.check(key),
            Class::Read => classes.read.check(key),
        }
    }
}

struct Keyed {
    quota: Quota,
    keys: Cache<Key, Arc<DefaultDirectRateLimiter>>,
}

impl Keyed {
    fn new(rate: Rate) -> Self {
        // The settings are checked to be at least 1; a limit of 1 is the next best where they were not.
        let [per_minute, burst] =
            [rate.per_minute, rate.burst].map(|n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN));
        Self {
            quota: Quota::per_minute(per_minute).allow_burst(burst),
            keys: Cache::new(KEYS_MAX),
        }
    }

    fn check(&self, key: Key) -> Result<(), Duration> {
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::new(RateLimiter::direct(self.quota)));
        let Ok(limiter) = self.keys.get_or_insert_with(&key, fresh);
        limiter
            .check()
            .map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()))
    }
}

#[cfg(test)]
mod tests {
    use ruma::api::client::account::{register, whoami};
    use ruma::api::client::message::send_message_event;
    use ruma::api::client::session::{get_login_types, login};
    use ruma::user_id;

    use super::*;

    fn limiter(burst: u32) -> Limiter {
        let rate = Rate {
            per_minute: 1,
            burst,
        };
        Limiter::new(&RateLimits {
            enabled: true,
            login: rate,
            send: rate,
            read: rate,
        })
    }

    #[test]
    fn endpoints_fall_into_their_classes() {
        assert_eq!(Class::of::<login::v3::Request>(), Class::Login);
        assert_eq!(Class::of::<register::v3::Request>(), Class::Login);
        assert_eq!(Class::of::<get_login_types::v3::Request>(), Class::Read);
        assert_eq!(Class::of::<whoami::v3::Request>(), Class::Read);
        assert_eq!(Class::of::<send_message_event::v3::Request>(), Class::Send);
    }

    #[test]
    fn a_burst_passes_and_then_the_wait_is_told() {
        let limiter = limiter(3);
        let anna = || Key::User(user_id!("@anna:example.org").to_owned());
        for _ in 0..3 {
            assert!(limiter.check(Class::Send, anna()).is_ok());
        }
        let wait = limiter.check(Class::Send, anna()).expect_err("used up");
        assert!(
            wait > Duration::from_secs(30) && wait <= Duration::from_secs(60),
            "{wait:?}"
        );
        let ben = Key::User(user_id!("@ben:example.org").to_owned());
        assert!(limiter.check(Class::Send, ben).is_ok(), "counted apart");
        assert!(
            limiter.check(Class::Read, anna()).is_ok(),
            "classes are apart"
        );
    }

    #[test]
    fn one_customer_is_one_key_whatever_the_notation() {
        let key = |text: &str| Key::address(text.parse().expect(text));
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    #[test]
    fn s21_a_flood_of_addresses_is_forgotten_again() {
        let limiter = limiter(1);
        for address in 0..u32::try_from(KEYS_MAX).expect("small") * 2 {
            let key = Key::address(IpAddr::from(address.to_be_bytes()));
            assert!(limiter.check(Class::Login, key).is_ok());
        }
        let classes = limiter.0.expect("enabled");
        assert!(classes.login.keys.len() <= KEYS_MAX);
    }

    #[test]
    fn nothing_is_limited_when_off() {
        let limiter = Limiter::default();
        let key = || Key::address(IpAddr::from([192, 0, 2, 1]));
        assert!((0..10_000).all(|_| limiter.check(Class::Login, key()).is_ok()));
    }
}
