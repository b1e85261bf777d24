//! `hearth healthcheck`: for container runtimes, which have no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use hearth_config::Config;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::admin::{Command, socket};
use crate::error::{Doing, Error, Result};

/// A server that takes longer is not well.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Succeeds when the server answers over HTTP and its store can be read.
pub(crate) async fn healthcheck(config: &Config) -> Result<()> {
    let check = async {
        if let Some(address) = config.listen.first() {
            over_http(reachable(*address)).await?;
        }
        match socket::ask(&config.data_dir, &Command::Ping).await? {
            Some(answer) => answer.map(drop).map_err(Error::Refused),
            None => Err(Error::refused("no server runs on this data folder")),
        }
    };
    tokio::time::timeout(ANSWER_MAX, check)
        .await
        .doing("the server does not answer")?
}

/// Where a listener can be reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn over_http(address: SocketAddr) -> Result<()> {
    let unreachable = || format!("could not ask http://{address}/health");
    let stream = TcpStream::connect(address).await.doing(unreachable())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .doing(unreachable())?;
    let request = http::Request::get("/health")
        .header("host", address.to_string())
        .body(Empty::<Bytes>::new())
        .doing(unreachable())?;
    let answer = async {
        let answer = sender.send_request(request).await;
        drop(sender);
        answer
    };
    let (answer, closed) = tokio::join!(answer, connection);
    closed.doing(unreachable())?;
    let status = answer.doing(unreachable())?.status();
    if status.is_success() {
        Ok(())
    } else {
        Err(Error::refused(format!("/health answers {status}")))
    }
}
