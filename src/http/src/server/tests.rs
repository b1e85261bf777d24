use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use super::*;
use crate::Frame;

/// A server on a port of its own, and what ends it.
struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

async fn start(config: &Config, routes: Router) -> Running {
    let metrics = Metrics::new();
    let any_port: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let server = Server::bind_plain(&[any_port], config, metrics.clone()).expect("binds");
    let address = server.addresses().expect("bound")[0];
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let routes = Frame::new(metrics, &[]).around(routes);
    tasks.spawn(server.run(routes, stop.clone()));
    tasks.close();
    Running {
        address,
        stop,
        tasks,
    }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connects")
    }

    async fn ask(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.expect("sent");
        read_all(&mut stream).await
    }
}

/// Until the server closes the connection, in whichever way.
async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn answers_over_a_real_connection() {
    let server = start(&Config::default(), Router::new()).await;
    let answer = server
        .ask(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.contains("access-control-allow-origin: *"),
        "{answer}"
    );
    let answer = server
        .ask(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(answer.contains("hearth_http_connections 1"), "{answer}");
}

#[tokio::test]
async fn s25_endless_headers_and_smuggled_lengths_are_refused() {
    let server = start(&Config::default(), Router::new()).await;
    let many = "a: b\r\n".repeat(HEADERS_MAX + 1);
    let long = format!("a: {}\r\n", "b".repeat(HEAD_BYTES_MAX));
    let two_lengths = "content-length: 5\r\ncontent-length: 6\r\n".to_owned();
    let both = "content-length: 5\r\ntransfer-encoding: gzip\r\n".to_owned();
    for headers in [many, long, two_lengths, both] {
        let request = format!("POST /health HTTP/1.1\r\nhost: x\r\n{headers}\r\nhello");
        let answer = server.ask(request.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 4") || answer.is_empty(),
            "{answer}"
        );
        assert!(
            !answer.starts_with("HTTP/1.1 405"),
            "got to the routes: {answer}"
        );
    }
}

#[tokio::test]
async fn stopping_lets_an_open_request_end_and_accepts_no_more() {
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (entered, leave) = (entered.clone(), leave.clone());
        async move || {
            entered.notify_one();
            leave.notified().await;
            "done"
        }
    };
    let server = start(&Config::default(), Router::new().route("/slow", get(slow))).await;
    let mut idle = server.connect().await;
    let mut open = server.connect().await;
    open.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .expect("sent");
    entered.notified().await;
    server.stop.cancel();
    assert_eq!(
        read_all(&mut idle).await,
        "",
        "idle connections end at once"
    );
    leave.notify_one();
    let answer = read_all(&mut open).await;
    assert!(answer.ends_with("done"), "{answer}");
    server.tasks.wait().await;
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_keep_the_server() {
    let mut config = Config::default();
    config.limits.shutdown_seconds_max = 0;
    let entered = Arc::new(Notify::new());
    let stuck = {
        let entered = entered.clone();
        async move || {
            entered.notify_one();
            std::future::pending::<()>().await;
        }
    };
    let server = start(&config, Router::new().route("/stuck", get(stuck))).await;
    let mut open = server.connect().await;
    open.write_all(b"GET /stuck HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .expect("sent");
    entered.notified().await;
    server.stop.cancel();
    server.tasks.wait().await;
    assert_eq!(read_all(&mut open).await, "");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let mut config = Config::default();
    config.limits.connections = 1;
    let server = start(&config, Router::new()).await;
    let mut first = server.connect().await;
    let request = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    first.write_all(request).await.expect("sent");
    let mut buffer = [0; 12];
    first.read_exact(&mut buffer).await.expect("served");
    let mut second = server.connect().await;
    second
        .write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .expect("queued");
    drop(first);
    let answer = read_all(&mut second).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
