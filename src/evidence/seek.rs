//! Finds the part of a large `audit.log` that a window of time needs, without reading the rest; and its lines.
//!
//! In: an open file whose lines are nearly in order of time. Out: offsets, lines. Parses only heads of lines.

use super::record::split_line;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

/// Read at once while searching; more than most lines.
const STEP: usize = 64 * 1024;
/// Below this, reading on is cheaper than searching.
const CLOSE: u64 = 256 * 1024;
/// How far to look for a line that has a time, among garbage.
const FAR: u64 = 4 * 1024 * 1024;
/// Longer lines than this are garbage (the kernel's records are below 9 KiB).
const LONGEST_LINE: u64 = 64 * 1024;

/// How the lines ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// At the end of a line, or where the reader had enough.
    Whole,
    /// In the middle of a line.
    Torn,
}

/// Hands each line between two offsets to `take`, without its newline, until it has enough.
pub(super) fn lines(
    file: &File,
    start: u64,
    end: u64,
    mut take: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<Ended> {
    let mut file = file;
    file.seek(SeekFrom::Start(start))?;
    let mut reader = BufReader::with_capacity(1 << 20, file.take(end.saturating_sub(start)));
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(Ended::Whole);
        }
        if line.pop_if(|last| *last == b'\n').is_none() && (read as u64) < LONGEST_LINE {
            return Ok(Ended::Torn);
        }
        if !line.is_empty() && take(&line).is_break() {
            return Ok(Ended::Whole);
        }
    }
}

/// The time of the first record of the file, in milliseconds; `None` if its first 4 MiB hold none.
pub(super) fn first_millis(file: &File, length: u64) -> io::Result<Option<i64>> {
    Ok(dated_line(file, 0, length, true)?.map(|(_, millis)| millis))
}

/// An offset, the start of a line, before which all records are older than `millis` (as far as the file is
/// in order of time).
pub(super) fn start_of(file: &File, length: u64, millis: i64) -> io::Result<u64> {
    let (mut low, mut high) = (0, length);
    while high - low > CLOSE {
        let middle = low + (high - low) / 2;
        match dated_line(file, middle, high, false)? {
            Some((at, time)) if time < millis => low = at,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The first line with a time that starts at or after `from`: its offset and its time.
fn dated_line(file: &File, from: u64, end: u64, at_start: bool) -> io::Result<Option<(u64, i64)>> {
    let mut window: Vec<u8> = Vec::new();
    let mut base = from;
    let mut in_line = !at_start;
    while base + (window.len() as u64) < end.min(from + FAR) {
        let old = window.len();
        window.resize(old + STEP, 0);
        let read = file.read_at(&mut window[old..], base + old as u64)?;
        window.truncate(old + read);
        if read == 0 {
            break;
        }
        while let Some(newline) = window.iter().position(|b| *b == b'\n') {
            let head = if in_line { None } else { split_line(&window[..newline]) };
            if let Some((head, _)) = head {
                return Ok(Some((base, head.millis)));
            }
            window.drain(..=newline);
            base += newline as u64 + 1;
            in_line = false;
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn log(lines: u64) -> (File, u64) {
        let mut file = tempfile::tempfile().unwrap();
        for n in 0..lines {
            writeln!(file, "type=SYSCALL msg=audit({}.000:{n}): padding={}", 1000 + n, "x".repeat(90))
                .unwrap();
        }
        let length = file.metadata().unwrap().len();
        (file, length)
    }

    #[test]
    fn the_search_stops_close_before_the_wanted_time() {
        let (file, length) = log(40_000);
        for wanted in [0, 1000, 1001, 20_000, 40_999, 41_000, 99_999] {
            let at = start_of(&file, length, wanted * 1000).unwrap();
            let (start, millis) = dated_line(&file, at, length, true).unwrap().unwrap();
            assert_eq!(start, at, "an offset of a line's start");
            assert!(millis <= wanted * 1000 || at == 0, "{millis} is later than {wanted}");
            assert!(length - at <= CLOSE || (wanted - millis / 1000) * 90 < CLOSE as i64);
        }
    }

    #[test]
    fn garbage_has_no_time_and_no_end_of_search() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![0; 3 << 20]).unwrap();
        assert_eq!(first_millis(&file, 3 << 20).unwrap(), None);
        assert!(start_of(&file, 3 << 20, 5).unwrap() <= 3 << 20);
    }
}
