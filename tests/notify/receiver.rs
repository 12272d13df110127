//! Receivers: real servers in a network namespace of their own, with loopback up and nothing else.

use crate::support::{Host, RULES, Run};
use fwdrift::sys::netns::Netns;
use serde_json::Value;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A rule that the tests add, and the change that it makes.
pub const DROP: &str = "insert rule inet filter input tcp dport 3306 drop";
pub const DROP_TEXT: &str = "tcp dport 3306 drop";

/// A firewall that is watched, and the network over which it is told of.
pub struct Site {
    pub host: Host,
    netns: Netns,
}

impl Site {
    /// With an approved firewall, and this in its configuration.
    #[track_caller]
    pub fn new(notify: &str) -> Self {
        Self::of(Host::new(RULES), notify)
    }

    #[track_caller]
    pub fn of(host: Host, notify: &str) -> Self {
        let netns = Netns::create().unwrap();
        let up = || Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(netns.run(up).unwrap().success());
        let site = Self { host, netns };
        site.configure(notify);
        site
    }

    /// Replaces what the configuration says of alerts; `DIR` stands for the host's directory.
    pub fn configure(&self, notify: &str) {
        let path = self.host.path("config.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        let rest = config.split("[notify").next().unwrap().trim_end_matches('[');
        let notify = notify.replace("DIR", self.host.path("").to_str().unwrap().trim_end_matches('/'));
        std::fs::write(&path, format!("{rest}{notify}")).unwrap();
    }

    /// Runs a piece of the test where the receivers are.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.netns.run(work).unwrap()
    }

    /// Runs the program where the receivers are.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Run {
        if let Some(audit) = self.host.collector() {
            assert!(audit.settle().unwrap(), "an audit event did not come");
        }
        let mut program = self.host.command(args);
        self.inside(|| program.output().unwrap()).into()
    }

    pub fn spawn(&self, args: &[&str]) -> Child {
        let mut program = self.host.command(args);
        program.stdout(Stdio::null()).stderr(Stdio::null());
        self.inside(|| program.spawn().unwrap())
    }

    /// Adds a rule and records it; what was printed on stderr.
    #[track_caller]
    pub fn drift(&self) -> String {
        self.host.nft(DROP);
        self.record(1)
    }

    /// Takes everything back that differs, and records it.
    #[track_caller]
    pub fn revert(&self) -> String {
        self.host.nft(&format!("flush ruleset\n{RULES}"));
        self.record(0)
    }

    /// Records, which must end with this code; what was printed on stderr.
    #[track_caller]
    pub fn record(&self, code: i32) -> String {
        let run = self.run(&["record", "-q"]);
        let stderr = run.stderr.clone();
        run.ended(code);
        stderr
    }

    /// Starts a server. The script runs as root with receivers' programs in /usr, and replaces itself by the server.
    pub fn serve(&self, script: &str) -> Server {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        self.serve_in(dir, script)
    }

    /// The same in a directory with files that it needs; `$D` is that directory.
    pub fn serve_in(&self, dir: tempfile::TempDir, script: &str) -> Server {
        let usr = receivers().join("usr");
        let overlay = match usr.is_dir() {
            true => format!("mount -t overlay overlay -o lowerdir={}:/usr /usr; ", usr.display()),
            false => String::new(),
        };
        let log = std::fs::File::create(dir.path().join("server.log")).unwrap();
        let mut shell = Command::new("unshare");
        shell.args(["-m", "sh", "-ec", &format!("{overlay}{script}")]).env("D", dir.path());
        shell.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = self.inside(|| shell.spawn().unwrap());
        Server { child, dir }
    }

    /// The answer of an HTTP server inside.
    #[track_caller]
    pub fn get(&self, url: &str) -> Option<String> {
        let mut curl = Command::new("curl");
        curl.args(["-sf", "--max-time", "5", url]);
        let output = self.inside(|| curl.output().unwrap());
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }
}

/// A server that ends with the test.
pub struct Server {
    child: Child,
    dir: tempfile::TempDir,
}

impl Server {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready`; shows what the server said if it never is.
    #[track_caller]
    pub fn until<T>(&self, what: &str, ready: impl Fn() -> Option<T>) -> T {
        wait(ready).unwrap_or_else(|| {
            let log = std::fs::read_to_string(self.path("server.log")).unwrap_or_default();
            panic!("{what} did not come; the server said: {log}")
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `ready` gives within 20 s.
pub fn wait<T>(ready: impl Fn() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        match ready() {
            None if begun.elapsed() < Duration::from_secs(20) => {
                std::thread::sleep(Duration::from_millis(20))
            }
            found => return found,
        }
    }
}

/// Where `scripts/receivers` puts the programs.
fn receivers() -> PathBuf {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(usual, PathBuf::from).join("receivers/root")
}

/// Whether a program of the receivers is there. If not, the test is skipped, which in CI fails.
#[track_caller]
pub fn have(program: &str) -> bool {
    let places = ["usr/sbin", "usr/bin", "usr/lib/systemd"];
    let roots = [receivers(), PathBuf::from("/")];
    let found = roots.iter().any(|root| places.iter().any(|place| root.join(place).join(program).is_file()));
    if !found {
        crate::support::skipped(&format!("{program} is not there (scripts/receivers fetches it)"));
    }
    found
}

/// An HTTP server that keeps each request, and answers as the file `answers` says: a status a line, `hang` for none; 200
/// when there is no more.
pub struct Http {
    pub server: Server,
}

const HTTP: &str = r#"
import http.server, json, os, ssl, sys, time
D = os.environ["D"]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            answers = open(D + "/answers").read().split()
        except FileNotFoundError:
            answers = []
        answer = answers[0] if answers else "200"
        with open(D + "/answers", "w") as f:
            f.write(" ".join(answers[1:]))
        request = {"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()},
                   "body": body.decode(), "answer": answer}
        with open(D + "/requests", "a") as f:
            f.write(json.dumps(request) + "\n")
        if answer == "hang":
            time.sleep(600)
        self.send_response(int(answer))
        if answer == "302":
            self.send_header("Location", "http://127.0.0.1:%d/elsewhere" % self.server.server_port)
        if answer == "429":
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"said\n")
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(D + "/cert.pem", D + "/key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
open(D + "/ready", "w").close()
server.serve_forever()
"#;

impl Http {
    /// Listens on this port; answers in this order, then 200.
    #[track_caller]
    pub fn start(site: &Site, port: u16, answers: &str) -> Self {
        Self::start_with(site, port, answers, false)
    }

    /// With TLS, and a certificate for `localhost` by `ca.pem`.
    #[track_caller]
    pub fn start_with(site: &Site, port: u16, answers: &str, tls: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("server.py"), HTTP).unwrap();
        std::fs::write(dir.path().join("answers"), answers).unwrap();
        if tls {
            certificate(dir.path());
        }
        let tls = if tls { "tls" } else { "" };
        let server = site.serve_in(dir, &format!("exec python3 $D/server.py {port} {tls}"));
        server.until("the HTTP server", || server.path("ready").exists().then_some(()));
        Self { server }
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.server.path("requests")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The alerts that were answered with 200, in their order.
    pub fn alerts(&self) -> Vec<Value> {
        let answered = |request: &Value| request["answer"] == "200";
        self.requests().iter().filter(|request| answered(request)).map(body).collect()
    }

    /// The events' numbers of those alerts.
    pub fn seqs(&self) -> Vec<u64> {
        self.alerts().iter().filter_map(|alert| alert["seq"].as_u64()).collect()
    }
}

/// The JSON of a request's body.
pub fn body(request: &Value) -> Value {
    serde_json::from_str(request["body"].as_str().unwrap()).unwrap()
}

/// Makes an authority (`ca.pem`) and its certificate for localhost (`cert.pem`, `key.pem`).
#[track_caller]
pub fn certificate(dir: &Path) {
    let script = "new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
        openssl req -x509 $new -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
        openssl req $new -subj /CN=localhost -keyout key.pem -out csr.pem
        echo subjectAltName=DNS:localhost >ext
        openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out cert.pem";
    let output = Command::new("sh").args(["-ec", script]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The kinds of alerts, in their order.
pub fn kinds(alerts: &[Value]) -> String {
    let mut out = String::new();
    for alert in alerts {
        let _ = write!(out, "{}:{} ", alert["kind"].as_str().unwrap(), alert["status"].as_str().unwrap());
    }
    out.trim_end().to_owned()
}
