//! Two servers that federate, with certificates of a CA made for the run; or two that already do.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::{
    Result,
    client::{Http, User, text},
    process::Process,
    server::{Server, free_port},
};

use super::Options;

/// One of the two.
#[derive(Debug)]
pub(super) struct Side {
    /// Connections to its client-server API.
    pub(super) http: Http,
    /// Its CPU and memory.
    pub(super) process: Process,
    names: usize,
    /// Dropped with the side, and the process with it; none for a peer.
    _server: Option<Server>,
}

impl Side {
    /// A user whom nobody knows yet.
    pub(super) async fn user(&mut self) -> Result<User> {
        let name = self.fresh_name();
        self.http.register(&name).await
    }

    /// A name that no user of this server has yet; a peer may remember those of earlier runs.
    pub(super) fn fresh_name(&mut self) -> String {
        self.names += 1;
        format!("far{}x{}", std::process::id(), self.names)
    }
}

/// Two of Hearth, or the two peers of the options.
pub(super) async fn begin(options: &Options, folder: &Path) -> Result<[Side; 2]> {
    if let [a, b] = options.peers.as_slice() {
        return Ok([a, b].map(|(url, pid)| Side {
            http: Http::new(url),
            process: Process::new(*pid),
            names: 0,
            _server: None,
        }));
    }
    if !options.peers.is_empty() {
        return Err("two peers are needed, each as URL=PID".into());
    }
    let authority = Authority::new(folder)?;
    Ok([
        side(&authority, folder, "a").await?,
        side(&authority, folder, "b").await?,
    ])
}

async fn side(authority: &Authority, folder: &Path, name: &str) -> Result<Side> {
    let own = folder.join(name);
    std::fs::create_dir(&own)?;
    authority.issue(&own)?;
    let port = free_port()?;
    let path = |file: &Path| file.to_string_lossy().into_owned();
    let setup = super::setup(&own)?
        .with("HEARTH_SERVER_NAME", format!("localhost:{port}"))
        .with("HEARTH_TLS__LISTEN", format!("127.0.0.1:{port}"))
        .with("HEARTH_TLS__CERTIFICATE", path(&own.join("tls.crt")))
        .with("HEARTH_TLS__KEY", path(&own.join("tls.key")))
        .with("HEARTH_EGRESS__CA_FILE", path(&folder.join("ca.crt")))
        .with("HEARTH_EGRESS__ALLOW", r#"["127.0.0.0/8", "::1/128"]"#)
        .with("HEARTH_REGISTRATION__ALLOW_OPEN", "true");
    let server = Server::start(setup).await?;
    Ok(Side {
        http: server.http.clone(),
        process: server.process(),
        names: 0,
        _server: Some(server),
    })
}

/// The CA of a run.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Made anew; its certificate is `ca.crt` in the folder.
    fn new(folder: &Path) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        std::fs::write(folder.join("ca.crt"), issuer.pem())?;
        Ok(Self(issuer))
    }

    /// `tls.crt` and `tls.key` for `localhost`.
    fn issue(&self, folder: &Path) -> Result<()> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(["localhost".to_owned()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.0)?;
        std::fs::write(folder.join("tls.crt"), certificate.pem())?;
        std::fs::write(folder.join("tls.key"), key.serialize_pem())?;
        Ok(())
    }
}

/// Joins a room of the other server: whoever lives there is asked.
pub(super) async fn join_over(user: &User, room: &str, resident: &User) -> Result<()> {
    let (_, server) = resident
        .id
        .split_once(':')
        .ok_or("a user id has a server")?;
    let [room, server] = [room, server].map(crate::client::escape);
    let path = format!("/_matrix/client/v3/join/{room}?server_name={server}&via={server}");
    let answer = user
        .ask(http::Method::POST, &path, &serde_json::json!({}))
        .await?
        .ok()?;
    text(&answer, "room_id").map(drop)
}
