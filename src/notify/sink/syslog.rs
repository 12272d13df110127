//! Syslog as RFC 5424 has it, with structured data: over a Unix socket, UDP (RFC 5426) or TCP (RFC 6587).
//!
//! Of the three only TCP tells whether anybody read the message: the receiver closes its side after it has read
//! everything up to the end of ours, and until it does, the message counts as not delivered.

use super::{Priority, Sink, socket_failure};
use crate::config::notify::SyslogTarget;
use crate::notify::alert::Alert;
use crate::notify::error::Failure;
use crate::report::escape::terminal;
use chrono::{DateTime, SecondsFormat, Utc};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

/// What every receiver should take over UDP (RFC 5426, section 3.2), and usual ones over the others.
const LONGEST_UDP: usize = 2_048;
const LONGEST: usize = 8_000;
/// The number that RFC 5612 sets aside for documentation: fwdrift has none of its own.
const STRUCTURED_DATA: &str = "fwdrift@32473";
/// Change ids in the structured data.
const IDS: usize = 20;

pub(super) struct Syslog {
    to: SyslogTarget,
    facility: u8,
    timeout: Duration,
}

impl Syslog {
    pub(super) fn new(to: &SyslogTarget, facility: u8, timeout: Duration) -> Self {
        Self { to: to.clone(), facility, timeout }
    }
}

impl Sink for Syslog {
    fn send(&self, alerts: &[Alert]) -> Result<(), Failure> {
        let longest = if matches!(self.to, SyslogTarget::Udp { .. }) { LONGEST_UDP } else { LONGEST };
        let messages: Vec<String> =
            alerts.iter().map(|alert| message(alert, self.facility, std::process::id(), longest)).collect();
        let (place, result) = match &self.to {
            SyslogTarget::Unix(path) => (path.display().to_string(), self.to_unix(path, &messages)),
            SyslogTarget::Udp { host, port } => {
                (format!("{host}:{port}"), self.to_udp(host, *port, &messages))
            }
            SyslogTarget::Tcp { host, port } => {
                (format!("{host}:{port}"), self.to_tcp(host, *port, &messages))
            }
        };
        result.map_err(|error| socket_failure("syslog at", &place, &error))
    }
}

impl Syslog {
    fn to_unix(&self, path: &Path, messages: &[String]) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(self.timeout))?;
        socket.connect(path)?;
        messages.iter().try_for_each(|message| socket.send(message.as_bytes()).map(drop))
    }

    fn to_udp(&self, host: &str, port: u16, messages: &[String]) -> io::Result<()> {
        let address = first_address(host, port)?;
        let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = UdpSocket::bind(any)?;
        socket.connect(address)?;
        for message in messages {
            socket.send(message.as_bytes())?;
        }
        // A port that nobody listens on is told of by ICMP, soon or never.
        std::thread::sleep(Duration::from_millis(20));
        socket.take_error()?.map_or(Ok(()), Err)
    }

    fn to_tcp(&self, host: &str, port: u16, messages: &[String]) -> io::Result<()> {
        let deadline = Instant::now() + self.timeout;
        let left = || match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
            left => Ok(left),
        };
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in (host, port).to_socket_addrs()? {
            let mut stream = match TcpStream::connect_timeout(&address, left()?) {
                Ok(stream) => stream,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            stream.set_write_timeout(Some(left()?))?;
            let frames: Vec<String> =
                messages.iter().map(|message| format!("{} {message}", message.len())).collect();
            stream.write_all(frames.concat().as_bytes())?;
            stream.shutdown(Shutdown::Write)?;
            return wait_for_end(&mut stream, left);
        }
        Err(last)
    }
}

/// Until the receiver closes its side: then it has read everything.
fn wait_for_end(stream: &mut TcpStream, left: impl Fn() -> io::Result<Duration>) -> io::Result<()> {
    let mut ignored = [0; 1024];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut ignored) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn first_address(host: &str, port: u16) -> io::Result<SocketAddr> {
    (host, port).to_socket_addrs()?.next().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID [SD] MSG`, cut at `longest` bytes.
fn message(alert: &Alert, facility: u8, pid: u32, longest: usize) -> String {
    let priority = facility * 8 + Priority::of(alert) as u8;
    let time = rfc5424_time(alert.time);
    let host = printable(alert.machine(), 255);
    let kind = alert.kind.as_str().to_uppercase();
    let data = structured_data(alert);
    let mut out = format!("<{priority}>1 {time} {host} fwdrift {pid} {kind} {data} ");
    let room = longest.saturating_sub(out.len());
    out.push_str(cut(&alert.message, room));
    out
}

fn structured_data(alert: &Alert) -> String {
    let ids: Vec<&str> = alert.changes.iter().take(IDS).map(|change| change.id.as_str()).collect();
    let resolves: Vec<&str> = alert.resolves.iter().take(IDS).map(|ended| ended.id.as_str()).collect();
    let author = alert.seq.map(|_| (&alert.author.name, alert.author.evidence.as_str()));
    let parameters: [(&str, Option<String>); 13] = [
        ("id", Some(alert.id.clone())),
        ("kind", Some(alert.kind.as_str().to_owned())),
        ("status", Some(alert.status.as_str().to_owned())),
        ("host", Some(alert.host.clone())),
        ("netns", alert.netns.clone()),
        ("severity", alert.severity.map(|severity| severity.as_str().to_owned())),
        ("author", author.map(|(name, _)| name.clone())),
        ("evidence", author.map(|(_, evidence)| evidence.to_owned())),
        ("seq", alert.seq.map(|seq| seq.to_string())),
        ("changes", Some(alert.changes_total.to_string())),
        ("changeIds", (!ids.is_empty()).then(|| ids.join(","))),
        ("resolves", (!resolves.is_empty()).then(|| resolves.join(","))),
        ("open", Some(alert.open.to_string())),
    ];
    let mut out = format!("[{STRUCTURED_DATA}");
    for (name, value) in parameters {
        if let Some(value) = value {
            out.push_str(&format!(" {name}=\"{}\"", parameter(&value)));
        }
    }
    out.push(']');
    out
}

/// A PARAM-VALUE: `"`, `\` and `]` are escaped (RFC 5424, section 6.3.3), and what is invisible is shown.
fn parameter(value: &str) -> String {
    let mut out = String::new();
    for c in cut(&terminal(value), 200).chars() {
        if matches!(c, '"' | '\\' | ']') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// At most six digits of a second are allowed.
fn rfc5424_time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Printable ASCII without blanks; `-` for nothing.
fn printable(text: &str, most: usize) -> String {
    let text: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

/// The beginning of a text, in whole characters.
fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert() -> Alert {
        let time = DateTime::parse_from_rfc3339("2026-11-20T02:14:09.120345678Z").unwrap().to_utc();
        let mut alert = Alert::dropped("web-01@blue", time, (3, 7));
        alert.seq = Some(5);
        alert
    }

    #[test]
    fn a_message_has_every_field_of_the_header() {
        let expect = "<84>1 2026-11-20T02:14:09.120345Z web-01 fwdrift 42 DROPPED [fwdrift@32473 \
            id=\"web-01@blue-dropped-3-7\" kind=\"dropped\" status=\"notice\" host=\"web-01@blue\" \
            author=\"unknown\" evidence=\"none\" seq=\"5\" changes=\"0\" open=\"0\"] \
            web-01@blue: 5 alerts were dropped, as too many waited; `fwdrift log` has every event";
        assert_eq!(message(&alert(), 10, 42, LONGEST), expect);
    }

    #[test]
    fn hostile_values_cannot_end_their_parameter_or_their_line() {
        let mut alert = alert();
        alert.author.name = "x\"] <0>1 - \\\n\u{202e}".to_owned();
        let message = message(&alert, 10, 42, LONGEST);
        assert!(message.contains("author=\"x\\\"\\] <0>1 - \\\\\\\\n\\\\u{202e}\""), "{message}");
        assert!(!message.contains('\n'));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let mut alert = alert();
        alert.message = "ä".repeat(9_000);
        for longest in [LONGEST, LONGEST - 1] {
            let message = message(&alert, 10, 42, longest);
            assert!(message.len() <= longest && message.len() > longest - 4);
        }
    }
}
