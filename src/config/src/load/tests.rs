use std::collections::BTreeSet;

use figment::Jail;

use super::*;
use crate::{ByteSize, Rate};

const DOCUMENTED: &str = include_str!("../../../../config/hearth.toml");

fn sources(file: &str) -> Sources {
    Sources {
        files: vec![file.into()],
        flags: Vec::new(),
    }
}

/// Loads one file with nothing else around.
#[expect(clippy::result_large_err, reason = "the error type is figment's")]
fn load(text: &str) -> Result<Config, String> {
    let mut result = Err(String::new());
    Jail::expect_with(|jail| {
        jail.clear_env();
        jail.create_file("hearth.toml", text)?;
        result = sources("hearth.toml")
            .load()
            .map_err(|error| error.to_string());
        Ok(())
    });
    result
}

fn refusal(text: &str) -> String {
    load(text).expect_err("should be refused")
}

#[test]
fn nothing_set_means_the_defaults() {
    assert_eq!(load("").expect("defaults are valid"), Config::default());
}

#[test]
#[expect(clippy::result_large_err, reason = "the error type is figment's")]
fn later_sources_win() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        jail.create_file("a.toml", "server_name = \"a\"\n[log]\nlevel = \"warn\"")?;
        jail.create_file("b.toml", "server_name = \"b\"\ndata_dir = \"/b\"")?;
        jail.set_env("HEARTH_DATA_DIR", "/c");
        jail.set_env("HEARTH_ROOM__DEFAULT_VERSION", "11");
        jail.set_env("HEARTH_RATE_LIMITS__LOGIN", "{per_minute=1, burst=2}");
        jail.set_env("HEARTH_LISTEN", "127.0.0.1:1");
        jail.set_env("HEARTH_TRUSTED_PROXIES", r#"["10.0.0.0/8", "::1"]"#);
        jail.set_env("HEARTH_REGISTRATION__TOKEN_REQUIRED", "true");
        jail.set_env("HEARTH_BIN", "/usr/bin/hearth");
        let config = Sources {
            files: vec!["a.toml".into(), "b.toml".into()],
            flags: vec![
                ("server_name".to_owned(), "d".to_owned()),
                ("limits.body".to_owned(), "8 MiB".to_owned()),
            ],
        }
        .load()
        .expect("valid");
        assert_eq!(config.server_name, "d");
        assert_eq!(config.data_dir, Path::new("/c"));
        assert_eq!(config.log.level, "warn");
        assert_eq!(config.room.default_version, "11");
        assert_eq!(config.limits.body, ByteSize::mebibytes(8));
        let (per_minute, burst) = (1, 2);
        assert_eq!(config.rate_limits.login, Rate { per_minute, burst });
        assert_eq!(config.listen, ["127.0.0.1:1".parse().unwrap()]);
        assert_eq!(config.trusted_proxies.len(), 2);
        Ok(())
    });
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_one() {
    let error = refusal("servername = \"x\"");
    assert!(error.contains("unknown setting `servername`"), "{error}");
    assert!(error.contains("did you mean `server_name`?"), "{error}");
    assert!(error.contains("hearth.toml"), "{error}");
    let error = refusal("[registration]\ntoken_requried = true");
    assert!(error.contains("`registration.token_requried`"), "{error}");
    assert!(
        error.contains("did you mean `registration.token_required`?"),
        "{error}"
    );
    let error = refusal("qqq = 1");
    assert!(!error.contains("did you mean"), "{error}");
}

#[test]
#[expect(clippy::result_large_err, reason = "the error type is figment's")]
fn an_unknown_variable_is_refused_too() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        jail.set_env("HEARTH_LOG__LEVLE", "debug");
        let error = Sources::default().load().expect_err("misspelt").to_string();
        assert!(error.contains("did you mean `log.level`?"), "{error}");
        let flags = vec![("log.colour".to_owned(), "red".to_owned())];
        jail.clear_env();
        let sources = Sources {
            files: Vec::new(),
            flags,
        };
        let error = sources.load().expect_err("no such flag").to_string();
        assert!(
            error.contains("`log.colour` on the command line"),
            "{error}"
        );
        Ok(())
    });
}

#[test]
fn s22_secrets_are_read_from_files_and_never_printed() {
    let secret = "swordfish-5512";
    let with_secret = format!("[registration]\nshared_secret = \"{secret}\"");
    let config = load(&with_secret).expect("valid");
    let shared = config.registration.shared_secret.as_ref();
    assert_eq!(shared.expect("set").expose(), secret);
    for printed in [config.to_toml(), format!("{config:?}")] {
        assert!(!printed.contains(secret), "{printed}");
        assert!(printed.contains("(secret)"), "{printed}");
    }
    let with_secret = format!("[turn]\nuris = [\"turn:a\"]\nshared_secret = \"{secret}\"");
    let config = load(&with_secret).expect("valid");
    for printed in [config.to_toml(), format!("{config:?}")] {
        assert!(!printed.contains(secret), "{printed}");
    }
    for wrong in ["5512", "5512.5", "[5512]", "{ a = 5512 }"] {
        let error = refusal(&format!("[registration]\nshared_secret = {wrong}"));
        assert!(!error.contains("5512"), "{error}");
    }
}

#[test]
#[expect(clippy::result_large_err, reason = "the error type is figment's")]
fn a_secret_comes_from_its_file_or_from_the_setting_but_not_both() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        jail.create_file("secret", "from-a-file\n")?;
        jail.create_file("a.toml", "[registration]\nshared_secret_file = \"secret\"")?;
        let config = sources("a.toml").load().expect("valid");
        let secret = config.registration.shared_secret.expect("set");
        assert_eq!(secret.expose(), "from-a-file");
        jail.set_env("HEARTH_REGISTRATION__SHARED_SECRET", "another");
        let error = sources("a.toml").load().expect_err("both").to_string();
        assert!(error.contains("both set"), "{error}");
        Ok(())
    });
}

#[test]
fn open_registration_has_to_be_confirmed_where_others_can_reach_it() {
    let reachable = [
        "listen = \"0.0.0.0:8008\"",
        "listen = [\"127.0.0.1:8008\", \"192.0.2.1:80\"]",
        "trusted_proxies = \"127.0.0.1\"",
        "[tls]\nlisten = \"[::]:443\"\ncertificate = \"a\"\nkey = \"b\"",
    ];
    for listen in reachable {
        let error = refusal(listen);
        assert!(error.contains("registration.allow_open"), "{error}");
        for confirmed in ["open = false", "token_required = true", "allow_open = true"] {
            load(&format!("{listen}\n[registration]\n{confirmed}")).expect(confirmed);
        }
    }
    load("listen = [\"127.7.0.1:8008\", \"[::1]:8008\"]").expect("loopback only");
}

#[test]
fn what_cannot_work_is_said_at_the_start() {
    for (text, part) in [
        ("server_name = \"https://example.org\"", "user ids"),
        ("listen = []", "address"),
        ("listen = \"localhost\"", "with a port"),
        ("[tls]\nlisten = \"127.0.0.1:443\"", "tls.certificate"),
        ("memory_limit = \"1 MiB\"", "at least"),
        ("memory_limit = \"a lot\"", "64 MiB"),
        ("[room]\ndefault_version = \"13\"", "room versions"),
        (
            "[rate_limits]\nlogin = { per_minute = 0, burst = 1 }",
            "rate_limits.login",
        ),
        ("[limits]\nbody = 10", "limits.body"),
        ("[password]\niterations = 0", "password.iterations"),
        ("[password]\nmin_length = 0", "password.min_length"),
        ("[well_known]\nclient = \"example.org\"", "https://"),
        (
            "[well_known]\nserver = \"https://example.org\"",
            "host:port",
        ),
        ("[log]\nformat = \"xml\"", "json"),
        ("trusted_proxies = \"10.0.0.0/99\"", "10.0.0.0/8"),
    ] {
        let error = refusal(text);
        assert!(error.contains(part), "{text}: {error}");
    }
}

/// In the documented file a line `#name = value` is a setting without a default, `#[name]` a table of such, `# text` is prose.
fn documented_settings() -> String {
    let begins = |first: char| first.is_ascii_lowercase() || first == '[';
    let with_commented = DOCUMENTED.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(begins) => setting,
        _ => line,
    });
    with_commented.collect::<Vec<_>>().join("\n")
}

/// The names that a table of the settings knows, asked by giving it one that it does not know.
fn known_names(table: Option<&str>) -> BTreeSet<String> {
    let header = table
        .map(|table| format!("[{table}]\n"))
        .unwrap_or_default();
    let unknown = format!("{header}not_a_setting = 1");
    let error = Figment::from(Toml::string(&unknown))
        .extract::<Config>()
        .expect_err("no such setting");
    let Kind::UnknownField(_, known) = error.kind else {
        panic!("{error}");
    };
    known.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_documented_file_says_the_defaults() {
    assert_eq!(load(DOCUMENTED).expect("valid"), Config::default());
}

#[test]
fn the_documented_file_has_every_setting() {
    let documented: toml::Table = documented_settings().parse().expect("TOML");
    let names = |table: &toml::Table| table.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&documented), known_names(None));
    let mut count = 0;
    for (name, value) in &documented {
        match value {
            toml::Value::Table(table) => {
                assert_eq!(names(table), known_names(Some(name)), "[{name}]");
                count += table.len();
            }
            _ => count += 1,
        }
    }
    assert!(count <= 60, "{count} settings"); // spec/decisions/040-sixty-settings.md
}

#[test]
fn each_setting_without_a_default_has_a_valid_example() {
    let text = documented_settings();
    Figment::from(Toml::string(&text))
        .extract::<Config>()
        .expect("the examples parse");
}

#[test]
fn terms_contacts_and_calls_are_checked() {
    let policy = |fields: &str| format!("[[terms]]\nid = \"p\"\nname = \"P\"\n{fields}\n");
    let good = policy("version = 1\nurl = \"https://a.test\"");
    let config = load(&good).expect("valid");
    assert_eq!(config.terms[0].language, "en");
    assert_eq!(config.terms[0].version, "1");
    for (text, complaint) in [
        (format!("{good}{good}"), "twice"),
        (
            format!(
                "{good}{}",
                policy("version = 2\nlanguage = \"de\"\nurl = \"https://a\"")
            ),
            "two versions",
        ),
        (policy("version = 1\nurl = \"ftp://a\""), "url"),
        (
            policy("version = \"a b\"\nurl = \"https://a\""),
            "characters",
        ),
        ("[turn]\nuris = [\"turn:a\"]".to_owned(), "go together"),
        ("[turn]\nshared_secret = \"a\"".to_owned(), "go together"),
        (
            "[turn]\nuris = [\"a\"]\nshared_secret = \"a\"".to_owned(),
            "turn:",
        ),
        (
            "[well_known]\ncontacts = [{ role = \"m.role.admin\" }]".to_owned(),
            "matrix_id",
        ),
    ] {
        let error = refusal(&text);
        assert!(error.contains(complaint), "{error}");
    }
}

#[test]
fn s20_rate_limits_are_on_unless_they_are_switched_off() {
    for text in ["", "[limits]\nconnections = 5", "[rate_limits]"] {
        let rates = load(text).expect("valid").rate_limits;
        assert!(rates.enabled, "{text}");
        for rate in [rates.login, rates.send, rates.read] {
            assert!(rate.per_minute > 0 && rate.burst > 0);
        }
    }
    let off = load("[rate_limits]\nenabled = false").expect("valid");
    assert!(!off.rate_limits.enabled);
}
