//! The policy for all hosts: `fwdrift.toml` on `main`, reviewed as the baselines are. Pure.
//!
//! Input: the file's bytes; output: values, or an error that names the line and the key. An unknown key is an
//! error: a misspelt one would be a policy that is not in force.

use crate::model::SettingsList;
use crate::model::settings::why_not;
use serde::Deserialize;
use toml::Spanned;

/// What the file says; all of it may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Which kernel settings are compared: `[sysctl]` with `also` and `ignore`, lists of names in which `*` stands
    /// for any characters of one part (`net.ipv6.conf.*.accept_ra`, `net.ipv4.conf.cali*.rp_filter`).
    pub settings: SettingsList,
}

/// Why the file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is not TOML, or not of this form.
    #[error("fwdrift.toml on main: line {line}: {message}")]
    Syntax {
        /// From 1.
        line: usize,
        /// What is wrong, with the key where there is one.
        message: String,
    },
    /// A name that cannot be one of a setting.
    #[error("fwdrift.toml on main: line {line}: sysctl.{key}: {why}")]
    Setting {
        /// From 1.
        line: usize,
        /// `also` or `ignore`.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl PolicyError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(
            "correct fwdrift.toml and commit it on main; `[sysctl]` has the keys `also` and `ignore`"
                .to_owned(),
        )
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    sysctl: Option<RawSettings>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSettings {
    #[serde(default)]
    also: Vec<Spanned<String>>,
    #[serde(default)]
    ignore: Vec<Spanned<String>>,
}

/// Reads the file. An empty one says nothing.
pub fn parse(bytes: &[u8]) -> Result<Policy, PolicyError> {
    let line =
        |offset: usize| 1 + bytes[..offset.min(bytes.len())].iter().filter(|byte| **byte == b'\n').count();
    let text = std::str::from_utf8(bytes).map_err(|error| PolicyError::Syntax {
        line: line(error.valid_up_to()),
        message: "it is not UTF-8".to_owned(),
    })?;
    let raw: Raw = toml::from_str(text).map_err(|error: toml::de::Error| PolicyError::Syntax {
        line: line(error.span().map_or(0, |span| span.start)),
        message: error.message().trim_end().to_owned(),
    })?;
    let checked = |key: &'static str, patterns: Vec<Spanned<String>>| -> Result<Vec<String>, PolicyError> {
        let check = |pattern: Spanned<String>| match why_not(pattern.get_ref()) {
            None => Ok(pattern.into_inner()),
            Some(why) => Err(PolicyError::Setting { line: line(pattern.span().start), key, why }),
        };
        patterns.into_iter().map(check).collect()
    };
    let settings = raw.sysctl.unwrap_or_default();
    let (also, ignore) = (checked("also", settings.also)?, checked("ignore", settings.ignore)?);
    Ok(Policy { settings: SettingsList::new(also, ignore) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_extended_and_shortened() {
        let text = "# policy\n[sysctl]\nalso = [\"net.ipv4.tcp_syncookies\"]\nignore = [\"net.ipv4.conf.cali*.rp_filter\"]\n";
        let settings = parse(text.as_bytes()).unwrap().settings;
        assert!(settings.patterns().contains(&&b"net.ipv4.tcp_syncookies"[..]));
        assert!(settings.ignores(b"net.ipv4.conf.cali7.rp_filter"));
        assert_eq!(parse(b"").unwrap(), Policy::default());
    }

    #[test]
    fn what_is_wrong_is_named_by_line_and_key() {
        let check = |text: &str, parts: &[&str]| {
            let error = parse(text.as_bytes()).unwrap_err();
            let message = error.to_string();
            assert!(message.starts_with("fwdrift.toml on main: line "), "{message}");
            parts.iter().for_each(|part| assert!(message.contains(part), "{part:?} in {message}"));
            assert!(error.hint().is_some());
        };
        check("[sysctl]\nallso = []\n", &["line 2", "allso"]);
        check("\n[sysctls]\n", &["line 2", "sysctls"]);
        check(
            "[sysctl]\nalso = [\n \"net.ipv4.tcp_x\",\n \"kernel.x\",\n]\n",
            &["line 4", "sysctl.also", "kernel.x"],
        );
        check("[sysctl]\nignore = [\"net.*.*.x\"]\n", &["line 2", "sysctl.ignore"]);
        check("[sysctl]\nalso = \"net.ipv4.x\"\n", &["line 2"]);
        check("[sysctl\n", &["line 1"]);
        assert!(parse(b"x\n\xff").unwrap_err().to_string().contains("line 2"));
    }
}
