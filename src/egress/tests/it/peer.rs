use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hearth_egress::{Egress, Names, Settings};
use hearth_ports::{
    BoxError, BoxFuture, HttpOut, OutBody, OutError, OutOptions, OutRequest, OutResponse, Service,
    no_body,
};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A server on a port of its own, and what came to it.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

type Answer = Arc<dyn Fn(&Request<Incoming>) -> Response<OutBody> + Send + Sync>;

impl Peer {
    pub(crate) async fn start<F>(at: &str, answer: F) -> Self
    where
        F: Fn(&Request<Incoming>) -> Response<OutBody> + Send + Sync + 'static,
    {
        Self::listen(at, None, Arc::new(answer)).await
    }

    pub(crate) async fn start_tls<F>(at: &str, acceptor: TlsAcceptor, answer: F) -> Self
    where
        F: Fn(&Request<Incoming>) -> Response<OutBody> + Send + Sync + 'static,
    {
        Self::listen(at, Some(acceptor), Arc::new(answer)).await
    }

    async fn listen(at: &str, tls: Option<TlsAcceptor>, answer: Answer) -> Self {
        let listener = TcpListener::bind(at).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let tasks = TaskTracker::new();
        let (counter, connection_tasks) = (connections.clone(), tasks.clone());
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let (answer, tls) = (answer.clone(), tls.clone());
                connection_tasks.spawn(async move {
                    match tls {
                        None => serve(stream, answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, answer).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            connections,
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }
}

async fn serve<I>(stream: I, answer: Answer)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(&request)) }
    });
    // How it ends is seen from the other end.
    drop(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

pub(crate) fn ok(body: impl Into<Bytes>) -> Response<OutBody> {
    Response::new(hearth_ports::full_body(body))
}

pub(crate) fn redirect(to: &str) -> Response<OutBody> {
    Response::builder()
        .status(302)
        .header("location", to)
        .body(no_body())
        .expect("a redirect")
}

/// Names that are looked up in a table. With several answers, each lookup takes the next one; the last one stays.
#[derive(Default)]
pub(crate) struct Table {
    answers: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    pub(crate) services: Vec<Service>,
    lookups: AtomicUsize,
}

impl Table {
    pub(crate) fn with(self, name: &str, answers: &[&[&str]]) -> Self {
        let parse = |address: &&str| address.parse().expect(address);
        let answers = answers
            .iter()
            .map(|addresses| addresses.iter().map(parse).collect());
        let mut table = self.answers.lock().expect("no test panicked");
        table.insert(name.to_owned(), answers.collect());
        drop(table);
        self
    }

    pub(crate) fn lookups(&self) -> usize {
        self.lookups.load(Ordering::SeqCst)
    }
}

impl Names for Table {
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, BoxError>> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        let mut table = self.answers.lock().expect("no test panicked");
        let answer = match table.get_mut(name) {
            Some(answers) if answers.len() > 1 => answers.remove(0),
            Some(answers) => answers[0].clone(),
            None => Vec::new(),
        };
        Box::pin(async { Ok(answer) })
    }

    fn services<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Service>, BoxError>> {
        Box::pin(async { Ok(self.services.clone()) })
    }
}

pub(crate) fn egress(names: &Arc<Table>, allow: &[&str]) -> Egress {
    let allow = allow.iter().map(|block| block.parse().expect(block));
    let settings = Settings {
        allow: allow.collect(),
        ..Settings::default()
    };
    egress_with(names, &settings)
}

pub(crate) fn egress_with(names: &Arc<Table>, settings: &Settings) -> Egress {
    let tasks = (TaskTracker::new(), CancellationToken::new());
    Egress::new(settings, names.clone(), tasks.0, tasks.1).expect("settings that fit")
}

pub(crate) fn get(uri: &str) -> OutRequest {
    OutRequest::new(Request::get(uri).body(no_body()).expect(uri))
}

pub(crate) async fn send(
    egress: &Egress,
    uri: &str,
    options: OutOptions,
) -> Result<OutResponse, OutError> {
    let mut request = get(uri);
    request.options = options;
    egress.send(request).await
}

/// The whole answer, as text.
pub(crate) async fn text(
    egress: &Egress,
    uri: &str,
    options: OutOptions,
) -> Result<String, OutError> {
    let bytes = send(egress, uri, options).await?.bytes().await?;
    Ok(String::from_utf8(bytes.to_vec()).expect("text"))
}
