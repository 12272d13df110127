//! What the story is played on: a database host and a web server, each a network namespace, joined by a cable.

use super::DemoError;
use super::audit::Audit;
use super::people::{Account, Accounts};
use crate::config::ColorChoice;
use crate::sys::netns::Netns;
use crate::tool::Tool;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The approved ruleset of the database host, as a person would load it.
const RULESET: &str = include_str!("../../baselines/database-server/nft/inet-filter.nft");

/// The database's port, as the ruleset knows it.
const DATABASE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 2, 9)), 3306);
/// A web server's address: one of the set `web_servers` of the ruleset.
const WEB: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 7);

/// How long the web server waits for the database.
pub(super) const PATIENCE: Duration = Duration::from_millis(600);

/// What `ops1` runs. The nft is a child of the shell, so that the audit record bears its own command line.
const UPDATE: &str = "\
#!/bin/sh
# routine security update: close ports that should not be open
nft insert rule inet filter input \\
    tcp dport 3306 drop comment '\"routine security update\"'
echo security update applied
";

/// Everything that lives as long as the demo.
pub(super) struct Stage {
    // Dropped in this order: the records are collected before their directory goes.
    /// The kernel's audit records.
    pub(super) audit: Audit,
    /// Who acts.
    pub(super) accounts: Accounts,
    _listener: TcpListener,
    db: Netns,
    web: Netns,
    dir: tempfile::TempDir,
    exe: PathBuf,
    color: ColorChoice,
}

impl Stage {
    /// Makes the namespaces, the database's port, the accounts and the configuration.
    pub(super) fn build(color: ColorChoice) -> Result<Self, DemoError> {
        for program in ["nft", "ip", "git"] {
            Tool::find(program)?;
        }
        let db = Netns::create().map_err(DemoError::NotPermitted)?;
        let web = Netns::create().map_err(DemoError::NotPermitted)?;
        let exe = std::env::current_exe()
            .map_err(|source| DemoError::Run { command: "fwdrift".to_owned(), source })?;
        let dir = tempfile::Builder::new()
            .prefix("fwdrift-demo-")
            .tempdir()
            .map_err(|source| DemoError::File { path: std::env::temp_dir(), source })?;
        join(&db, &web)?;
        let listener = db
            .run(|| TcpListener::bind(DATABASE))?
            .map_err(|source| DemoError::Listen { address: DATABASE.to_string(), source })?;
        db.run(|| Ok::<_, DemoError>(Tool::find("nft")?.args(["-f", "-"]).input(RULESET.into()).run()?))??;
        let at = dir.path();
        let config = format!(
            "host = \"db-01\"\nrepo = {:?}\naudit_log = {:?}\n",
            at.join("repo"),
            at.join("audit.log")
        );
        write(&at.join("demo.toml"), &config)?;
        write(&at.join("security-update.sh"), UPDATE)?;
        let accounts = Accounts::make(at.join("passwd"))?;
        let audit = Audit::start(&db, at.join("audit.log"));
        Ok(Self { audit, accounts, _listener: listener, db, web, dir, exe, color })
    }

    /// The temporary directory in which the commands run.
    pub(super) fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// The command line of fwdrift, as [`Stage::fwdrift`] runs it.
    pub(super) fn line(&self, command: &str) -> String {
        format!("fwdrift {}", self.words(command).join(" "))
    }

    fn words(&self, command: &str) -> Vec<String> {
        let color = match self.color {
            ColorChoice::Auto => None,
            ColorChoice::Always => Some("always"),
            ColorChoice::Never => Some("never"),
        };
        let mut words = vec!["--config".to_owned(), "demo.toml".to_owned()];
        words.extend(color.into_iter().flat_map(|when| ["--color".to_owned(), when.to_owned()]));
        words.extend(command.split(' ').map(str::to_owned));
        words
    }

    /// Runs this program on the database host, as a user would; it prints for itself.
    pub(super) fn fwdrift(&self, command: &str) -> Result<ExitStatus, DemoError> {
        self.db.run(|| {
            let mut program = self.accounts.seen_by(&self.exe);
            program.args(self.words(command)).current_dir(self.directory()).stdin(Stdio::null());
            program.status().map_err(|source| DemoError::Run { command: self.line(command), source })
        })?
    }

    /// Runs a shell script on the database host, by an account's login; gives what it printed.
    pub(super) fn script(&self, account: Account, script: &str) -> Result<String, DemoError> {
        let tool = self.accounts.by(account, script)?.directory(self.directory());
        let output = self.db.run(|| tool.run())??;
        self.audit.settle();
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Whether the web server gets through to the database, and how long that took.
    pub(super) fn connects(&self) -> Result<(bool, Duration), DemoError> {
        let begun = Instant::now();
        let stream = self.web.run(|| TcpStream::connect_timeout(&DATABASE, PATIENCE))?;
        Ok((stream.is_ok(), begun.elapsed()))
    }
}

/// A cable between the two hosts, with their addresses.
fn join(db: &Netns, web: &Netns) -> Result<(), DemoError> {
    let peer = format!("/proc/{}/fd/{}", std::process::id(), web.as_fd().as_raw_fd());
    let ip = |netns: &Netns, line: &str| -> Result<(), DemoError> {
        let words: Vec<&str> = line.split(' ').collect();
        netns.run(|| -> Result<(), DemoError> {
            Tool::find("ip")?.args(words).run()?;
            Ok(())
        })?
    };
    ip(db, &format!("link add eth0 type veth peer name eth0 netns {peer}"))?;
    for (netns, address) in [(db, format!("{}/16", DATABASE.ip())), (web, format!("{WEB}/16"))] {
        ip(netns, &format!("address add {address} dev eth0"))?;
        ip(netns, "link set lo up")?;
        ip(netns, "link set eth0 up")?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), DemoError> {
    std::fs::write(path, text).map_err(|source| DemoError::File { path: path.to_owned(), source })
}
