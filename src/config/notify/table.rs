//! A table of the configuration file, read key by key, with the line of everything that is wrong.

use super::secret::Secret;
use crate::config::error::ConfigError;
use crate::config::nearest::nearest;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The file that a table stands in, and what is needed to read one.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) bytes: &'a [u8],
    /// `$CREDENTIALS_DIRECTORY`.
    pub(super) credentials: Option<&'a Path>,
}

/// A table under its whole name (`notify.mail`).
pub(super) struct Table<'a> {
    source: Source<'a>,
    name: String,
    entries: &'a DeTable<'a>,
    start: usize,
}

impl<'a> Table<'a> {
    /// The table at `value`, if it is one and has no key but these.
    pub(super) fn of(
        source: Source<'a>,
        name: &str,
        value: &'a Spanned<DeValue<'a>>,
        keys: &'static [&'static str],
    ) -> Result<Self, ConfigError> {
        let start = value.span().start;
        let Some(entries) = value.get_ref().as_table() else {
            let reason = format!("it is {}, not a table: write [{name}]", type_of(value));
            return Err(error(source, name, start, reason));
        };
        let unknown = entries.keys().filter(|key| !keys.contains(&key.get_ref().as_ref()));
        match unknown.min_by_key(|key| key.span().start) {
            None => Ok(Self { source, name: name.to_owned(), entries, start }),
            Some(key) => Err(ConfigError::UnknownKey {
                path: source.path.to_owned(),
                line: super::super::file::line_of(source.bytes, key.span().start),
                key: format!("{name}.{}", key.get_ref()),
                nearest: nearest(key.get_ref(), keys),
                valid: keys,
            }),
        }
    }

    /// A value as it stands there.
    pub(super) fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.entries.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    /// An error at the value of a key, or at the table where it is missing.
    pub(super) fn error(&self, key: &str, reason: impl Into<String>) -> ConfigError {
        let start = self.value(key).map_or(self.start, |value| value.span().start);
        error(self.source, &format!("{}.{key}", self.name), start, reason.into())
    }

    /// An error about the table as a whole.
    pub(super) fn error_of_all(&self, reason: impl Into<String>) -> ConfigError {
        error(self.source, &self.name, self.start, reason.into())
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<String>, ConfigError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.get_ref().as_str() {
            Some("") => Err(self.error(key, "it is empty")),
            Some(text) if text.chars().any(char::is_control) => {
                Err(self.error(key, "it contains a control character"))
            }
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(self.wrong_type(key, value, "text: write it between quotes")),
        }
    }

    pub(super) fn required(&self, key: &str, example: &str) -> Result<String, ConfigError> {
        self.text(key)?.ok_or_else(|| self.error_of_all(format!("{key} is missing: write {key} = {example}")))
    }

    pub(super) fn number(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, ConfigError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let Some(integer) = value.get_ref().as_integer() else {
            return Err(self.wrong_type(key, value, "a whole number"));
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(self.error(
                key,
                format!("{} is not between {} and {}", integer.as_str(), range.start(), range.end()),
            )),
        }
    }

    /// A list of texts, at least one.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<String>>, ConfigError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let wrong = || self.wrong_type(key, value, "a list of texts: write [\"…\", \"…\"]");
        let list = value.get_ref().as_array().ok_or_else(wrong)?;
        let texts: Option<Vec<String>> =
            list.iter().map(|text| text.get_ref().as_str().map(str::to_owned)).collect();
        match texts.ok_or_else(wrong)? {
            texts if texts.is_empty() => Err(self.error(key, "the list is empty")),
            texts if texts.iter().any(|text| text.contains('\0')) => {
                Err(self.error(key, "a text contains a NUL byte"))
            }
            texts => Ok(Some(texts)),
        }
    }

    /// A table of texts.
    pub(super) fn pairs(&self, key: &str) -> Result<BTreeMap<String, String>, ConfigError> {
        let Some(value) = self.value(key) else { return Ok(BTreeMap::new()) };
        let wrong = || self.wrong_type(key, value, "a table of texts: write { name = \"value\" }");
        let table = value.get_ref().as_table().ok_or_else(wrong)?;
        table
            .iter()
            .map(|(name, value)| {
                let value = value.get_ref().as_str().ok_or_else(wrong)?;
                Ok((name.get_ref().to_string(), value.to_owned()))
            })
            .collect()
    }

    pub(super) fn path(&self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let path = PathBuf::from(&text);
        if path.is_absolute() {
            Ok(Some(path))
        } else {
            Err(self.error(key, format!("{text:?} is not an absolute path")))
        }
    }

    /// `KEY = "…"` or `KEY_file = "…"`: an absolute path, or the name of a systemd credential.
    pub(super) fn secret(&self, key: &str) -> Result<Option<Secret>, ConfigError> {
        let file_key = format!("{key}_file");
        let here = self.text(key)?.map(Secret::Here);
        let Some(file) = self.text(&file_key)? else { return Ok(here) };
        if here.is_some() {
            return Err(self.error(&file_key, format!("{key} is given, too: leave one of them out")));
        }
        if file.starts_with('/') {
            return Ok(Some(Secret::File(file.into())));
        }
        if file.contains('/') || file == "." || file == ".." {
            let reason = format!("{file:?} is neither an absolute path nor the name of a systemd credential");
            return Err(self.error(&file_key, reason));
        }
        let directory = self.source.credentials.map(Path::to_owned);
        Ok(Some(Secret::Credential { name: file, directory }))
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) -> ConfigError {
        self.error(key, format!("it is {}, not {wanted}", type_of(value)))
    }
}

fn type_of(value: &Spanned<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn error(source: Source<'_>, key: &str, start: usize, reason: String) -> ConfigError {
    ConfigError::Value {
        path: source.path.to_owned(),
        line: super::super::file::line_of(source.bytes, start),
        key: key.to_owned(),
        reason,
    }
}
