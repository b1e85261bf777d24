//! The server process under test: started on a free loopback port with its own data folder, killed, started again.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use tokio::time::Instant;

use crate::{Result, client::Http, process::Process};

/// A start that takes longer has failed.
const START_SECONDS_MAX: u64 = 60;
/// A stop that takes longer has failed.
const STOP_SECONDS_MAX: u64 = 60;

/// How to start the server, and where its files are.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The binary.
    pub binary: PathBuf,
    /// Holds the data folder and the log of one test.
    pub folder: PathBuf,
    /// The port on loopback.
    pub port: u16,
    /// Settings and other variables beyond those of [`Setup::new`].
    pub environment: Vec<(String, String)>,
}

impl Setup {
    /// A server in `folder`, with rate limits wide open: the tests mean to be fast.
    pub fn new(folder: &Path) -> Result<Self> {
        Ok(Self {
            binary: binary()?,
            folder: folder.to_owned(),
            port: free_port()?,
            environment: vec![("HEARTH_RATE_LIMITS__ENABLED".to_owned(), "false".to_owned())],
        })
    }

    /// The same with one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// The server's data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where the server's output goes.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// The address of the client-server API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log())?;
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        // What this machine is set up with is none of the server's: neither its settings nor its certificate authorities.
        let is_foreign = |name: &str| name.starts_with("HEARTH_") || name == "SSL_CERT_FILE";
        for (name, _) in std::env::vars().filter(|(name, _)| is_foreign(name)) {
            command.env_remove(name);
        }
        command
            .env("HEARTH_SERVER_NAME", "localhost")
            .env("HEARTH_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("HEARTH_DATA_DIR", self.data())
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// `hearth fsck`, which must find nothing; what it tells of the tables.
    pub fn fsck(&self) -> Result<String> {
        self.run(&["fsck"])
    }

    /// A command of the program; what it tells. An error says what it told all the same.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(arguments)?;
        let output = command
            .env_remove("LD_PRELOAD")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(told);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(format!("{}: {}\n{told}{errors}", arguments.join(" "), output.status).into())
    }

    /// The last lines of the server's output.
    #[must_use]
    pub fn log_end(&self) -> String {
        let log = std::fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Lines of the log that tell of a panic.
    pub fn panics(&self) -> Result<Vec<String>> {
        let log = std::fs::read(self.log())?;
        let text = String::from_utf8_lossy(&log);
        Ok(text
            .lines()
            .filter(|line| line.contains("panicked at"))
            .map(str::to_owned)
            .collect())
    }
}

/// A running server; dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// How it was started.
    pub setup: Setup,
    /// Connections to it.
    pub http: Http,
    /// From the start of the process to its first answer.
    pub start_time: Duration,
}

impl Server {
    /// Starts the server and waits for its first answer.
    pub async fn start(setup: Setup) -> Result<Self> {
        let began = Instant::now();
        let child = setup.command(&["serve"])?.spawn()?;
        let http = Http::new(&setup.url());
        let mut server = Self {
            child,
            setup,
            http,
            start_time: Duration::ZERO,
        };
        while !server.http.is_up().await {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!(
                    "the server ended while starting: {status}\n{}",
                    server.setup.log_end()
                )
                .into());
            }
            if began.elapsed() > Duration::from_secs(START_SECONDS_MAX) {
                return Err(format!(
                    "no answer within {START_SECONDS_MAX} s\n{}",
                    server.setup.log_end()
                )
                .into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        server.start_time = began.elapsed();
        Ok(server)
    }

    /// Its CPU and memory.
    #[must_use]
    pub fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    /// kill -9.
    pub fn kill(mut self) -> Result<Setup> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(self.setup.clone())
    }

    /// SIGTERM; an unclean exit is an error.
    pub async fn stop(mut self) -> Result<Setup> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let deadline = Instant::now() + Duration::from_secs(STOP_SECONDS_MAX);
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(self.setup.clone()),
                Some(status) => {
                    return Err(format!("after SIGTERM: {status}\n{}", self.setup.log_end()).into());
                }
                None if Instant::now() > deadline => {
                    return Err("the server did not stop on SIGTERM".into());
                }
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Whether the process has ended by itself.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already dead is what we want; there is nobody to tell in a drop.
        if self.child.kill().is_ok() && self.child.wait().is_err() {
            eprintln!("could not wait for the server");
        }
    }
}

/// `HEARTH_BIN`, else the `hearth` that was built beside this program.
pub fn binary() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("HEARTH_BIN") {
        return Ok(PathBuf::from(named).canonicalize()?);
    }
    let own = std::env::current_exe()?;
    let beside = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("hearth"))
        .find(|path| path.is_file());
    beside.ok_or_else(|| {
        "no server: build it with `cargo build --release -p hearth` or set HEARTH_BIN".into()
    })
}

/// A port that nobody listens on now.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
