//! Kernel settings and BPF programs as files of a baseline: `NAME = VALUE`, as in sysctl.d(5). Pure.

use super::compile::CompileError;
use super::layout::context_path;
use crate::model::{Backend, ContextObject, Files};

/// First line of a file that fwdrift wrote.
const CAPTURED: &str = "# captured by fwdrift, one object a line";

/// What the files say of a backend; none if they have no file for it. A line that begins with `#` or `;` is a
/// comment.
pub fn read(files: &Files, backend: Backend) -> Result<Option<Vec<ContextObject>>, CompileError> {
    let found = context_path(backend).and_then(|path| Some((path, files.get(path)?)));
    let Some((path, content)) = found else { return Ok(None) };
    let mut objects = Vec::new();
    for (number, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") || line.starts_with(b";") {
            continue;
        }
        let parts = line.iter().position(|byte| *byte == b'=').map(|place| line.split_at(place));
        let malformed = || CompileError::Setting { path: path.to_owned(), line: number + 1 };
        let (name, value) = parts.ok_or_else(malformed)?;
        let (name, value) = (name.trim_ascii().to_vec(), value[1..].trim_ascii().to_vec());
        objects.push(ContextObject { name, value });
    }
    Ok(Some(objects))
}

/// The names that the files give to objects of a backend: what is approved is looked at. A line that cannot be
/// read names nothing here; compiling says so.
pub fn names(files: &Files, backend: Backend) -> Vec<Vec<u8>> {
    let objects = read(files, backend).ok().flatten().unwrap_or_default();
    objects.into_iter().map(|object| object.name).collect()
}

/// The file that says what `text` (lines of `NAME = VALUE`) says.
pub fn file(text: &str) -> Vec<u8> {
    format!("{CAPTURED}\n{text}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_they_were_written() {
        let path = "context/sysctl.conf".to_owned();
        let files =
            Files::from([(path.clone(), file("net.ipv4.ip_forward = 1\nnet.a = b = c\nnet.empty = "))]);
        let object = |name: &str, value: &str| ContextObject { name: name.into(), value: value.into() };
        let expect =
            vec![object("net.ipv4.ip_forward", "1"), object("net.a", "b = c"), object("net.empty", "")];
        assert_eq!(read(&files, Backend::Sysctl).unwrap(), Some(expect));
        assert_eq!(read(&files, Backend::Bpf).unwrap(), None);
        let wrong = Files::from([(path, b"# fine\nnonsense\n".to_vec())]);
        let error = read(&wrong, Backend::Sysctl).unwrap_err();
        assert_eq!(error.to_string(), "context/sysctl.conf: line 2 is not of the form NAME = VALUE");
    }
}
