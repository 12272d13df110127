//! What can stop the demo, each with the next step.

use crate::sys::netns::NetnsError;
use crate::tool::ToolError;
use std::path::PathBuf;

/// Why the story could not be told to its end. Nothing is left behind in any case.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No namespace may be made.
    #[error("the demo works in a network namespace of its own, which only root may make: {0}")]
    NotPermitted(NetnsError),
    /// A namespace could not be used.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// A program is missing or failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The temporary directory, or a file in it.
    #[error("cannot use {path}: {source}")]
    File {
        /// For example `/tmp/fwdrift-demo-x1y2z3`.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A program of the story could not be started.
    #[error("cannot run {command}: {source}")]
    Run {
        /// The command line.
        command: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The database's port could not be opened.
    #[error("cannot listen on {address} in the demo's namespace: {source}")]
    Listen {
        /// Address and port.
        address: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A step ended in another way than the story says.
    #[error("the demo went wrong: {what}")]
    Unexpected {
        /// What was seen, and what should have been.
        what: String,
    },
    /// Signals could not be caught.
    #[error("cannot catch signals: {0}")]
    Signals(std::io::Error),
    /// Nothing more can be printed.
    #[error("cannot write: {0}")]
    Output(std::io::Error),
    /// Ctrl-C, or another signal that asks to end.
    #[error("interrupted")]
    Interrupted,
}

impl DemoError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotPermitted(_) => Some(
                "run it as root: `sudo fwdrift demo`; a container needs CAP_SYS_ADMIN and CAP_NET_ADMIN"
                    .into(),
            ),
            Self::Netns(error) => error.hint(),
            // Otherwise a name that begins with "ip" stands for iptables.
            Self::Tool(ToolError::Missing { name }) if name == "ip" => {
                Some("install it (package iproute2)".into())
            }
            Self::Tool(error) => error.hint(),
            Self::Unexpected { .. } => {
                Some("this is a fault of fwdrift or of this kernel; please report it".into())
            }
            Self::File { .. }
            | Self::Run { .. }
            | Self::Listen { .. }
            | Self::Signals(_)
            | Self::Output(_)
            | Self::Interrupted => None,
        }
    }
}
