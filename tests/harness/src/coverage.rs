//! Which endpoints of the client-server API the server has: asks for each one and writes a table.
//!
//! A route that is not there answers `M_UNRECOGNIZED`, whoever asks; any other answer comes from the endpoint itself. So nobody
//! logs in for this, and nothing is changed on the server.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use serde_json::Value;

use crate::{
    Result,
    client::{Answer, Http},
    fuzz::{Route, routes},
    server::{Server, Setup},
};

/// What endpoints that are not there yet belong to: the first row whose text is in the path.
const SUBJECTS: &[(&str, &str)] = &[
    ("/keys/", "end-to-end encryption (3 of 6)"),
    ("/room_keys/", "end-to-end encryption (3 of 6)"),
    ("/sendToDevice/", "end-to-end encryption (3 of 6)"),
    ("/media/", "media (4 of 6)"),
    ("/pushers", "push notifications (later)"),
    ("/notifications", "push notifications (later)"),
    ("/v3/search", "search (later)"),
    ("/appservice/", "directories of other networks (later)"),
    ("/thirdparty/", "other networks (later)"),
    ("/login/sso/", "single sign-on (later)"),
    ("/auth_metadata", "single sign-on (later)"),
    ("/policy_server", "being a policy server (for others to do)"),
];
const OTHER: &str = "client-server API (2 of 6)";

/// Paths of the list that are no endpoints of the specification.
const NOT_SPECIFIED: &[&str] = &[
    "/health",
    "/metrics",
    "/_synapse/",
    "fuzz.example",
    "chat.hearth.social",
    "/v3/nothing",
];

/// Asks a server of its own and compares the table with the one in `file`, or writes it there.
pub async fn run(folder: &Path, file: &Path, keep: Keep) -> Result<String> {
    // The deprecated endpoints of media are there for who wants them; all others are there by default.
    let setup = Setup::new(folder)?.with("HEARTH_MEDIA__UNAUTHENTICATED", "true");
    let server = Server::start(setup).await?;
    let mut rows = BTreeMap::new();
    for route in routes().into_iter().filter(is_specified) {
        let served = is_served(&server.http, &route).await?;
        rows.insert((route.path.clone(), route.method.to_string()), served);
    }
    server.stop().await?;
    let (table, told) = (table(&rows), counts(&rows));
    match keep {
        Keep::Write => std::fs::write(file, table)?,
        Keep::Compare if std::fs::read_to_string(file)? == table => {}
        Keep::Compare => {
            let file = file.display();
            let way = "`hearth-harness coverage --write` brings it up to date";
            return Err(format!("{file} does not say what the server has ({told}); {way}").into());
        }
    }
    Ok(told)
}

/// What to do with the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Write the file.
    Write,
    /// The file must be the same.
    Compare,
}

fn is_specified(route: &Route) -> bool {
    !NOT_SPECIFIED.iter().any(|part| route.path.contains(part))
}

async fn is_served(http: &Http, route: &Route) -> Result<bool> {
    let names = route.parameters();
    let path = names.iter().fold(route.path.clone(), |path, name| {
        path.replace(&format!("{{{name}}}"), "x")
    });
    let answer = http.send(route.method.clone(), &path, None, Bytes::new());
    Ok(!is_unrecognized(&answer.await?))
}

fn is_unrecognized(answer: &Answer) -> bool {
    let errcode = serde_json::from_slice::<Value>(&answer.body)
        .ok()
        .and_then(|error| error.get("errcode").cloned());
    errcode.is_some_and(|code| code == "M_UNRECOGNIZED")
}

type Rows = BTreeMap<(String, String), bool>;

fn counts(rows: &Rows) -> String {
    let served = rows.values().filter(|served| **served).count();
    format!("{served} of {} endpoints are served", rows.len())
}

fn table(rows: &Rows) -> String {
    let mut table = format!(
        "# Endpoints of the client-server API\n\n{}. Written by `hearth-harness coverage --write`, which asks a running server for each \
         one;\n`scripts/test` fails when this page no longer tells what it finds.\n\n| method | path | |\n| --- | --- | --- |\n",
        counts(rows)
    );
    for ((path, method), served) in rows {
        let verdict = if *served {
            "served".to_owned()
        } else {
            format!("not yet: {}", subject(path))
        };
        table.push_str(&format!("| {method} | `{path}` | {verdict} |\n"));
    }
    table
}

fn subject(path: &str) -> &'static str {
    let known = SUBJECTS.iter().find(|(part, _)| path.contains(part));
    known.map_or(OTHER, |(_, subject)| subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Answer {
        let body = Bytes::from_static(body.as_bytes());
        Answer { status, body }
    }

    #[test]
    fn only_an_unrecognized_route_is_not_served() {
        assert!(is_unrecognized(&answer(
            404,
            "{\"errcode\":\"M_UNRECOGNIZED\"}"
        )));
        assert!(!is_unrecognized(&answer(
            404,
            "{\"errcode\":\"M_NOT_FOUND\"}"
        )));
        assert!(!is_unrecognized(&answer(
            401,
            "{\"errcode\":\"M_MISSING_TOKEN\"}"
        )));
        assert!(!is_unrecognized(&answer(200, "<html>")));
    }

    #[test]
    fn the_table_says_what_is_missing_and_why() {
        let rows = [
            ("/_matrix/client/v3/keys/claim", false),
            ("/_matrix/client/v3/sync", true),
        ];
        let rows = rows.map(|(path, served)| ((path.to_owned(), "GET".to_owned()), served));
        let table = table(&Rows::from(rows));
        assert!(table.contains("1 of 2 endpoints are served"));
        assert!(table.contains(
            "| GET | `/_matrix/client/v3/keys/claim` | not yet: end-to-end encryption (3 of 6) |"
        ));
        assert!(table.contains("| GET | `/_matrix/client/v3/sync` | served |"));
    }
}
