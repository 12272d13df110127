//! Secrets: in the configuration file, in a file of their own, or a credential that systemd hands over.

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;

/// More than any key or password.
const LONGEST: u64 = 64 * 1024;

/// Where a secret is. Its text is never shown, not even in debug output.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// In the configuration file itself.
    Here(String),
    /// A file that holds nothing else.
    File(PathBuf),
    /// A credential of the service (systemd.exec(5), `LoadCredential=`).
    Credential {
        /// Its name.
        name: String,
        /// `$CREDENTIALS_DIRECTORY`; none where fwdrift was not started by systemd with credentials.
        directory: Option<PathBuf>,
    },
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(_) => f.write_str("Here(…)"),
            Self::File(path) => write!(f, "File({path:?})"),
            Self::Credential { name, .. } => write!(f, "Credential({name:?})"),
        }
    }
}

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Its file cannot be read.
    #[error("the secret in {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Its file holds nothing, or more than a secret.
    #[error("{} holds no secret: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with the content.
        why: &'static str,
    },
    /// A credential was asked for where there are none.
    #[error("the credential {name:?} is not there: fwdrift was not started by systemd with credentials")]
    NoCredentials {
        /// Its name.
        name: String,
    },
}

impl Secret {
    /// The secret, without the line break that ends its file. Read anew each time, so that a new one counts at once.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read(&self) -> Result<String, SecretError> {
        let path = match self {
            Self::Here(text) => return Ok(text.clone()),
            Self::File(path) => path.clone(),
            Self::Credential { name, directory: Some(directory) } => directory.join(name),
            Self::Credential { name, directory: None } => {
                return Err(SecretError::NoCredentials { name: name.clone() });
            }
        };
        let mut bytes = Vec::new();
        std::fs::File::open(&path)
            .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
            .map_err(|source| SecretError::Unreadable { path: path.clone(), source })?;
        let unusable = |why| SecretError::Unusable { path: path.clone(), why };
        if bytes.len() as u64 > LONGEST {
            return Err(unusable("it is longer than 64 KiB"));
        }
        let text = String::from_utf8(bytes).map_err(|_| unusable("it is not UTF-8"))?;
        match text.trim_end_matches(['\n', '\r']) {
            "" => Err(unusable("it is empty")),
            secret => Ok(secret.to_owned()),
        }
    }

    /// The file that holds it, where it has one of its own.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Here(_) => None,
            Self::File(path) => Some(path.clone()),
            Self::Credential { name, directory } => directory.as_ref().map(|directory| directory.join(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_its_file_without_the_last_line_break() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Secret::File(path.clone()).read().map_err(|error| error.to_string())
        };
        assert_eq!(read(b"a key \n"), Ok("a key ".to_owned()));
        assert!(read(b"\n").unwrap_err().contains("it is empty"));
        assert!(read(b"\xff").unwrap_err().contains("not UTF-8"));
        assert!(read(&vec![b'x'; 70_000]).unwrap_err().contains("longer"));
        assert!(Secret::File("/nonexistent/key".into()).read().is_err());
    }

    #[test]
    fn a_credential_is_a_file_of_the_directory_that_systemd_names() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("smtp"), "pass").unwrap();
        let secret = |directory| Secret::Credential { name: "smtp".to_owned(), directory };
        assert_eq!(secret(Some(directory.path().to_owned())).read().unwrap(), "pass");
        assert!(matches!(secret(None).read(), Err(SecretError::NoCredentials { .. })));
    }

    #[test]
    fn no_debug_output_shows_a_secret() {
        assert_eq!(format!("{:?}", Secret::Here("hunter2".to_owned())), "Here(…)");
    }
}
