use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use hearth_egress::{Egress, Settings};
use hearth_ports::{
    BoxError, HostPort, HttpOut, OutBody, OutError, OutOptions, OutRequest, Service, full_body,
};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use crate::peer::{Peer, Table, egress, egress_with, ok, redirect, send, text};

const LOOPBACK: &[&str] = &["127.0.0.0/8"];

fn here() -> Egress {
    egress(&Arc::new(Table::default()), LOOPBACK)
}

fn at(peer: &Peer, path: &str) -> String {
    format!("http://{}{path}", peer.address)
}

fn at_most(bytes: u64) -> OutOptions {
    OutOptions {
        body_bytes_max: bytes,
        ..OutOptions::default()
    }
}

fn chunked(pieces: usize) -> OutBody {
    let piece = || Ok::<_, BoxError>(Frame::data(Bytes::from_static(&[b'x'; 1024])));
    let pieces = std::iter::repeat_with(piece).take(pieces);
    StreamBody::new(stream::iter(pieces)).boxed_unsync()
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let peer = Peer::start("127.0.0.1:0", |_| ok("hello")).await;
    let egress = here();
    for _ in 0..3 {
        let answer = text(&egress, &at(&peer, "/"), OutOptions::default()).await;
        assert_eq!(answer.expect("answered"), "hello");
    }
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn path_and_query_go_out_as_they_were_written() {
    let peer = Peer::start("127.0.0.1:0", |request| ok(request.uri().to_string())).await;
    for path in ["/a%2Fb/%2e%2e/c?x=%20+y", "/", "//a/../b", "/%21room:a.org"] {
        let answer = text(&here(), &at(&peer, path), OutOptions::default()).await;
        assert_eq!(answer.expect("answered"), path);
    }
}

#[tokio::test]
async fn redirects_are_followed_as_often_as_allowed() {
    let peer = Peer::start("127.0.0.1:0", |request| {
        match request.uri().path().trim_start_matches('/').parse::<u8>() {
            Ok(0) | Err(_) => ok("there"),
            Ok(left) => redirect(&format!("/{}", left - 1)),
        }
    })
    .await;
    let options = |redirects_max| OutOptions {
        redirects_max,
        ..OutOptions::default()
    };
    let answer = send(&here(), &at(&peer, "/3"), options(3))
        .await
        .expect("answered");
    assert_eq!(answer.uri.path(), "/0");
    assert_eq!(answer.bytes().await.expect("read"), "there");
    let refused = send(&here(), &at(&peer, "/4"), options(3)).await;
    assert!(matches!(refused, Err(OutError::Redirect(_))), "{refused:?}");
    let answer = send(&here(), &at(&peer, "/1"), options(0))
        .await
        .expect("answered");
    assert_eq!(answer.response.status(), 302);
}

#[tokio::test]
async fn s16_a_body_ends_at_its_limit() {
    let peer = Peer::start("127.0.0.1:0", |request| match request.uri().path() {
        "/announced" => ok(vec![b'x'; 4096]),
        _ => Response::new(chunked(4)),
    })
    .await;
    for path in ["/announced", "/streamed"] {
        let whole = text(&here(), &at(&peer, path), at_most(4096)).await;
        assert_eq!(whole.expect(path).len(), 4096);
        let cut = text(&here(), &at(&peer, path), at_most(4095)).await;
        assert!(matches!(cut, Err(OutError::TooLarge)), "{path}: {cut:?}");
    }
}

#[tokio::test]
async fn s16_a_small_body_cannot_become_a_large_one() {
    // 1 MiB of zeros, compressed.
    let bomb = Bytes::from(gzip(&vec![0; 1 << 20]).await);
    assert!(bomb.len() < 4096);
    let peer = Peer::start("127.0.0.1:0", move |_| {
        let mut answer = ok(bomb.clone());
        let gzip = http::HeaderValue::from_static("gzip");
        answer.headers_mut().insert("content-encoding", gzip);
        answer
    })
    .await;
    let whole = send(&here(), &at(&peer, "/"), at_most(1 << 20))
        .await
        .expect("answered");
    assert!(!whole.response.headers().contains_key("content-encoding"));
    assert!(!whole.response.headers().contains_key("content-length"));
    assert_eq!(whole.bytes().await.expect("read").len(), 1 << 20);
    let cut = text(&here(), &at(&peer, "/"), at_most((1 << 20) - 1)).await;
    assert!(matches!(cut, Err(OutError::TooLarge)), "{cut:?}");
}

async fn gzip(plain: &[u8]) -> Vec<u8> {
    use tokio::io::AsyncReadExt;
    let mut compressed = Vec::new();
    async_compression::tokio::bufread::GzipEncoder::new(plain)
        .read_to_end(&mut compressed)
        .await
        .expect("compressed");
    compressed
}

#[tokio::test]
async fn s16_endless_headers_are_refused() {
    let peer = Peer::start("127.0.0.1:0", |_| {
        let mut answer = ok("");
        let line = http::HeaderValue::from_bytes(&[b'x'; 1 << 20]).expect("a header");
        answer.headers_mut().insert("x-long", line);
        answer
    })
    .await;
    let refused = text(&here(), &at(&peer, "/"), OutOptions::default()).await;
    assert!(refused.is_err());
}

#[tokio::test(start_paused = true)]
async fn s16_a_silent_server_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("bound");
    let given_up = send(
        &here(),
        &format!("http://{address}/"),
        OutOptions::default(),
    )
    .await;
    assert!(matches!(given_up, Err(OutError::Timeout)), "{given_up:?}");
}

#[tokio::test(start_paused = true)]
async fn s16_a_body_that_does_not_go_on_is_given_up() {
    let peer = Peer::start("127.0.0.1:0", |_| {
        let first = Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"x")));
        let body = futures_util::StreamExt::chain(stream::iter([first]), stream::pending());
        Response::new(StreamBody::new(body).boxed_unsync())
    })
    .await;
    let options = OutOptions {
        head_time_max: Duration::from_secs(3600),
        body_time_max: Duration::from_secs(7200),
        ..OutOptions::default()
    };
    let given_up = text(&here(), &at(&peer, "/"), options).await;
    assert!(matches!(given_up, Err(OutError::Timeout)), "{given_up:?}");
}

#[tokio::test]
async fn a_request_may_stream_its_body() {
    let peer = Peer::start("127.0.0.1:0", |request| {
        let length = request.headers().get("transfer-encoding");
        ok(length.expect("chunked").as_bytes().to_vec())
    })
    .await;
    let request = Request::put(at(&peer, "/"))
        .body(chunked(100))
        .expect("a request");
    let answer = here()
        .send(OutRequest::new(request))
        .await
        .expect("answered");
    assert_eq!(answer.bytes().await.expect("read"), "chunked");
}

#[tokio::test]
async fn an_unknown_name_is_not_a_broken_connection() {
    let unknown = send(&here(), "http://nobody.example/", OutOptions::default()).await;
    assert!(
        matches!(unknown, Err(OutError::Unresolved { cause: None, .. })),
        "{unknown:?}"
    );
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = closed.local_addr().expect("bound");
    drop(closed);
    let nobody = send(
        &here(),
        &format!("http://{address}/"),
        OutOptions::default(),
    )
    .await;
    assert!(matches!(nobody, Err(OutError::Connect(_))), "{nobody:?}");
}

#[tokio::test]
async fn services_come_by_priority() {
    let service = |priority, host: &str| Service {
        priority,
        weight: 0,
        target: HostPort {
            host: host.to_owned(),
            port: 8448,
        },
    };
    let mut names = Table::default();
    names.services = vec![service(20, "b.org"), service(10, "a.org")];
    let egress = egress(&Arc::new(names), &[]);
    let found = egress
        .services("_matrix-fed._tcp.example.org")
        .await
        .expect("found");
    assert_eq!(found, [service(10, "a.org"), service(20, "b.org")]);
    let none = here()
        .services("_matrix-fed._tcp.example.org")
        .await
        .expect("found");
    assert_eq!(none, []);
}

/// A certificate authority in a file, and a server's certificate that it signed.
fn certified(name: &str) -> (tempfile::NamedTempFile, TlsAcceptor) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("a key");
    let ca = CertifiedIssuer::self_signed(params, ca_key).expect("a CA");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &ca).expect("signed");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), ca.pem()).expect("written");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
        })
        .expect("a configuration");
    (file, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn a_request_goes_where_the_caller_says_and_proves_the_name_it_says() {
    let (ca, acceptor) = certified("b.example.org");
    let peer = Peer::start_tls("127.0.0.1:0", acceptor, |request| {
        ok(request.headers()["host"].as_bytes().to_vec())
    })
    .await;
    let names = Arc::new(Table::default().with("a.example.org", &[&["127.0.0.1"]]));
    let settings = Settings {
        allow: vec!["127.0.0.1/32".parse().expect("a block")],
        ca_files: vec![ca.path().to_owned()],
        ..Settings::default()
    };
    let egress = egress_with(&names, &settings);
    let to = |tls_name: Option<&str>| OutOptions {
        connect: Some(HostPort {
            host: "a.example.org".to_owned(),
            port: peer.port(),
        }),
        tls_name: tls_name.map(str::to_owned),
        ..OutOptions::default()
    };
    let host = text(&egress, "https://b.example.org:8448/", to(None)).await;
    assert_eq!(host.expect("answered"), "b.example.org:8448");
    let host = text(&egress, "https://c.example.org/", to(Some("b.example.org"))).await;
    assert_eq!(host.expect("answered"), "c.example.org");
    let liar = send(&egress, "https://c.example.org/", to(None)).await;
    assert!(matches!(liar, Err(OutError::Connect(_))), "{liar:?}");
    let unknown_ca = Settings {
        ca_files: Vec::new(),
        ..settings
    };
    let liar = send(
        &egress_with(&names, &unknown_ca),
        "https://b.example.org/",
        to(None),
    )
    .await;
    assert!(matches!(liar, Err(OutError::Connect(_))), "{liar:?}");
}

#[tokio::test]
async fn a_host_header_of_the_caller_is_kept() {
    let peer = Peer::start("127.0.0.1:0", |request| {
        ok(request.headers()["host"].as_bytes().to_vec())
    })
    .await;
    let request = Request::post(at(&peer, "/"))
        .header("host", "matrix.example.org:443")
        .body(full_body("{}"))
        .expect("a request");
    let answer = here()
        .send(OutRequest::new(request))
        .await
        .expect("answered");
    assert_eq!(
        answer.bytes().await.expect("read"),
        "matrix.example.org:443"
    );
}
