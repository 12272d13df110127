//! The global flags, as typed. No defaults here: an absent flag stays absent, so that the file can speak.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Flags that every command takes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Configuration file [default: /etc/fwdrift/config.toml, where it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Repository of baselines and ledger [default: /var/lib/fwdrift/repo]
    #[arg(long, global = true, value_name = "DIR")]
    pub repo: Option<PathBuf>,

    /// Name of this host in the repository [default: the hostname]
    #[arg(long, global = true, value_name = "NAME")]
    pub host: Option<String>,

    /// Network namespace to look at: a name (in /run/netns, or a container's, as docker-web), a path, or
    /// pid:NUMBER for that of a process; digits alone are a name where there is one, else a process [default:
    /// the present one]. What has a name has its own baseline and ledger: HOST@NAME
    #[arg(long, global = true, value_name = "NAME|PATH|pid:PID")]
    pub netns: Option<PathBuf>,

    /// The present network namespace, all named ones and those of running containers, each with its own
    /// baseline; for `check`, `record` and `init`
    #[arg(long, global = true, conflicts_with = "netns")]
    pub all_netns: bool,

    /// Form of the result
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: Format,

    /// When to use colours; `auto` honours NO_COLOR
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub color: ColorChoice,

    /// Print less: `record` then says nothing when all is in sync
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Explain on stderr what is being done; twice for every detail
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The form of a result on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one object with a `schema`.
    Json,
    /// For tickets and wikis; `report` only.
    Markdown,
    /// For CI: JUnit's XML; `flows` only.
    Junit,
    /// For code scanning: SARIF 2.1.0; `lint` only.
    Sarif,
}

impl Format {
    /// The word that the flag takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Markdown => "markdown",
            Self::Junit => "junit",
            Self::Sarif => "sarif",
        }
    }
}

/// When colours are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal that can show them, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Even into a pipe, even with NO_COLOR.
    Always,
    /// Not at all.
    Never,
}

impl From<ColorChoice> for anstream::ColorChoice {
    fn from(choice: ColorChoice) -> Self {
        match choice {
            ColorChoice::Auto => Self::Auto,
            ColorChoice::Always => Self::Always,
            ColorChoice::Never => Self::Never,
        }
    }
}
