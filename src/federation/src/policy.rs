//! With which servers this one talks.

use hearth_event::Glob;
use ruma::ServerName;

/// The rules of whoever runs the server: on or off, and for whom.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    is_on: bool,
    /// Only these, if there are any.
    allow: Vec<Glob>,
    /// Not these.
    deny: Vec<Glob>,
}

impl Policy {
    /// With nobody.
    pub fn off() -> Self {
        Self::default()
    }

    /// With all that match `allow` (all if it is empty) and do not match `deny`. Patterns are compared with the host
    /// and with the whole name.
    pub fn on(allow: &[String], deny: &[String]) -> Self {
        let globs = |patterns: &[String]| patterns.iter().map(|text| Glob::new(text)).collect();
        Self {
            is_on: true,
            allow: globs(allow),
            deny: globs(deny),
        }
    }

    /// Whether this server talks to others at all.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether it talks to this one.
    pub fn permits(&self, server: &ServerName) -> bool {
        let is_in = |globs: &[Glob]| {
            let matches =
                |glob: &Glob| glob.matches(server.host()) || glob.matches(server.as_str());
            globs.iter().any(matches)
        };
        self.is_on && !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denied_servers_are_denied_and_only_allowed_ones_allowed() {
        let name = |text: &str| ruma::OwnedServerName::try_from(text).unwrap();
        let open = Policy::on(&[], &["*.bad.example".to_owned()]);
        assert!(open.permits(&name("good.example:8448")));
        assert!(!open.permits(&name("a.BAD.example:1")));
        let closed = Policy::on(&["*.ok.example".to_owned()], &["no.ok.example".to_owned()]);
        assert!(closed.permits(&name("a.ok.example")));
        assert!(!closed.permits(&name("no.ok.example")));
        assert!(!closed.permits(&name("other.example")));
        assert!(!Policy::off().permits(&name("good.example")));
    }
}
