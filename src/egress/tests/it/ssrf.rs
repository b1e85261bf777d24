use std::sync::Arc;

use hearth_ports::{HostPort, OutError, OutOptions};

use crate::peer::{Peer, Table, egress, ok, redirect, send, text};

const ALLOWED: &str = "127.0.0.1/32";

fn following() -> OutOptions {
    OutOptions {
        redirects_max: 3,
        ..OutOptions::default()
    }
}

fn connecting_to(host: &str, port: u16) -> OutOptions {
    OutOptions {
        connect: Some(HostPort {
            host: host.to_owned(),
            port,
        }),
        ..OutOptions::default()
    }
}

#[tokio::test]
async fn s16_a_private_address_is_refused_however_it_is_written() {
    let peer = Peer::start("127.0.0.1:0", |_| ok("secret")).await;
    let names = Table::default()
        .with("inside.example", &[&["127.0.0.1"]])
        .with("mapped.example", &[&["::ffff:127.0.0.1"]]);
    let egress = egress(&Arc::new(names), &[]);
    for host in [
        "inside.example",
        "mapped.example",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::1]",
        "0.0.0.0",
    ] {
        let uri = format!("http://{host}:{}/", peer.port());
        let refused = send(&egress, &uri, OutOptions::default()).await;
        assert!(
            matches!(refused, Err(OutError::Refused { .. })),
            "{host}: {refused:?}"
        );
        let overridden = connecting_to(host, peer.port());
        let refused = send(&egress, "http://public.example/", overridden).await;
        assert!(
            matches!(refused, Err(OutError::Refused { .. })),
            "{host}: {refused:?}"
        );
    }
    assert_eq!(peer.connections(), 0);
}

#[tokio::test]
async fn s16_a_redirect_is_checked_again() {
    let inside = Peer::start("127.0.0.2:0", |_| ok("secret")).await;
    let port = inside.port();
    let front = Peer::start("127.0.0.1:0", move |request| {
        let host = request.uri().path().trim_start_matches('/');
        redirect(&format!("http://{host}:{port}/"))
    })
    .await;
    let names = Table::default().with("inside.example", &[&["127.0.0.2"]]);
    let egress = egress(&Arc::new(names), &[ALLOWED]);
    for host in [
        "127.0.0.2",
        "inside.example",
        "[::ffff:127.0.0.2]",
        "0x7f.2",
    ] {
        let uri = format!("http://127.0.0.1:{}/{host}", front.port());
        let refused = send(&egress, &uri, following()).await;
        assert!(
            matches!(refused, Err(OutError::Refused { .. })),
            "{host}: {refused:?}"
        );
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn s16_the_address_that_was_checked_is_the_one_that_is_dialled() {
    let outside = Peer::start("127.0.0.1:0", |_| {
        let mut answer = ok("public");
        let close = http::HeaderValue::from_static("close");
        answer.headers_mut().insert("connection", close);
        answer
    })
    .await;
    let inside = Peer::start(&format!("127.0.0.2:{}", outside.port()), |_| ok("secret")).await;
    // Public when it is looked at, private a moment later.
    let names = Table::default().with("rebinding.example", &[&["127.0.0.1"], &["127.0.0.2"]]);
    let names = Arc::new(names);
    let egress = egress(&names, &[ALLOWED]);
    let uri = format!("http://rebinding.example:{}/", outside.port());
    let answer = text(&egress, &uri, OutOptions::default()).await;
    assert_eq!(answer.expect("answered"), "public");
    assert_eq!(names.lookups(), 1);
    let refused = send(&egress, &uri, OutOptions::default()).await;
    assert!(
        matches!(refused, Err(OutError::Refused { .. })),
        "{refused:?}"
    );
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn s16_of_several_addresses_only_the_allowed_are_tried() {
    let outside = Peer::start("127.0.0.1:0", |_| ok("public")).await;
    let inside = Peer::start(&format!("127.0.0.2:{}", outside.port()), |_| ok("secret")).await;
    let names = Table::default().with("both.example", &[&["127.0.0.2", "127.0.0.1"]]);
    let egress = egress(&Arc::new(names), &[ALLOWED]);
    let uri = format!("http://both.example:{}/", outside.port());
    let answer = text(&egress, &uri, OutOptions::default()).await;
    assert_eq!(answer.expect("answered"), "public");
    assert_eq!(inside.connections(), 0);
}
