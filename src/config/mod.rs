//! What the caller asked for: flags, `/etc/fwdrift/config.toml` and defaults, made into one [`Settings`].
//!
//! Role: the edge between the command line and the rest. [`GlobalArgs`] holds the flags as typed;
//! [`Settings::resolve`] lets flags win over the file, and the file over the defaults, and checks
//! every value once. Nothing behind it reads a flag, the file or the environment again. It opens
//! nothing but the configuration file and the hostname: namespaces and repositories are only named.

mod args;
mod error;
mod file;
mod nearest;
pub mod notify;
mod settings;
mod values;

pub use args::{ColorChoice, Format, GlobalArgs};
pub use error::ConfigError;
pub use notify::NotifySettings;
pub use settings::{DEFAULT_AUDIT_LOG, DEFAULT_CONFIG, Settings, Verbosity};
pub use values::{InvalidNetns, NetnsForm, NetnsRef};
