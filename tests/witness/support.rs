//! A watched network namespace, people who change it, and the truth about who did.

use fwdrift::collect::transactions::Transactions;
use fwdrift::evidence::{Attested, Witness};
use fwdrift::model::{AuditEvent, Gap, Transaction};
use fwdrift::sys::netns::Netns;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketType};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take that is being waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A transaction and what the witness said of it.
#[derive(Debug)]
pub struct Told {
    pub transaction: Transaction,
    pub attested: Attested,
    /// From the reading of the announcement to the answer.
    pub after: Duration,
}

impl Told {
    /// The login that wrote itself into the rule that was added: `by 3100005`.
    pub fn truth(&self) -> u32 {
        let bytes: Vec<u8> = self.transaction.messages.iter().flat_map(|m| m.attrs.clone()).collect();
        let at = bytes.windows(3).position(|window| window == b"by ").expect("a rule that says by whom");
        let digits: String =
            bytes[at + 3..].iter().take_while(|b| b.is_ascii_digit()).map(|b| char::from(*b)).collect();
        digits.parse().unwrap()
    }
}

/// A namespace, listened to as `watch` does.
pub struct Watched {
    pub netns: Netns,
    transactions: Transactions,
    pub witness: Witness,
    pub gaps: Vec<Gap>,
    pub x_tables: Vec<AuditEvent>,
    waiting: BTreeMap<u32, (Transaction, Instant)>,
    pub told: Vec<Told>,
}

impl Watched {
    pub fn new() -> Self {
        let netns = Netns::create().unwrap();
        let transactions = Transactions::open(&netns).unwrap();
        let (witness, gaps) = Witness::open(Instant::now());
        Self {
            netns,
            transactions,
            witness,
            gaps,
            x_tables: Vec::new(),
            waiting: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    /// One turn of the loop, waiting at most so long.
    pub fn turn(&mut self, most: Duration) {
        let now = Instant::now();
        let until = self.witness.deadline(now).map_or(most, |at| at.saturating_duration_since(now).min(most));
        let timeout = Timespec { tv_sec: 0, tv_nsec: until.as_nanos().min(999_999_999) as i64 };
        let mut fds = vec![self.transactions.as_fd()];
        fds.extend(self.witness.fds());
        let mut fds: Vec<PollFd> =
            fds.into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let _ = poll(&mut fds, Some(&timeout));
        let now = Instant::now();
        let news = self.transactions.receive().unwrap();
        assert!(!news.lost, "transactions were lost");
        for transaction in news.transactions {
            self.witness.commit(&transaction, now);
            self.waiting.insert(transaction.generation, (transaction, now));
        }
        self.witness.receive(now);
        for attested in self.witness.resolved(Instant::now()) {
            let (transaction, since) = self.waiting.remove(&attested.generation).expect("asked for once");
            self.told.push(Told { transaction, attested, after: since.elapsed() });
        }
        self.gaps.extend(self.witness.gaps());
        self.x_tables.extend(self.witness.x_tables());
    }

    /// Listens while `work` runs, and until every transaction has its author.
    pub fn during<T: Send>(&mut self, work: impl FnOnce() -> T + Send) -> T {
        let done = AtomicBool::new(false);
        let result = std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let _end = OnDrop(&done);
                work()
            });
            while !done.load(Ordering::SeqCst) {
                self.turn(Duration::from_millis(20));
            }
            worker.join().unwrap()
        });
        self.settle();
        result
    }

    /// Until what was committed before has its author.
    pub fn settle(&mut self) {
        let until = Instant::now() + PATIENCE;
        let mut quiet = 0;
        while quiet < 3 {
            assert!(Instant::now() < until, "no author of {:?}", self.waiting.keys());
            let told = self.told.len();
            self.turn(Duration::from_millis(10));
            quiet = if self.waiting.is_empty() && told == self.told.len() { quiet + 1 } else { 0 };
        }
    }

    /// Of the namespace, as long as this process lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.netns.as_fd().as_raw_fd())
    }

    /// A table for rules that say by whom they are.
    pub fn prepare(&mut self) {
        let path = self.path();
        self.during(|| run(&mut shell(&path, None, "nft 'add table inet t; add chain inet t c'")));
        self.told.clear();
    }

    pub fn last(&self) -> &Told {
        self.told.last().expect("a transaction")
    }
}

struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A shell command in the namespace at `path`, by this login (`None`: none).
pub fn shell(path: &str, login: Option<u32>, script: &str) -> Command {
    let enter = login.map_or_else(String::new, |uid| format!("echo {uid} > /proc/self/loginuid; "));
    let inside = format!("{enter}exec /usr/bin/nsenter --net={path} /bin/sh -ec \"$0\"");
    let mut command = Command::new("/bin/sh");
    command.args(["-ec", &inside, script]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null());
    command
}

#[track_caller]
pub fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A shell of somebody who logged in, inside a namespace; each order is a child of it, as at a terminal.
pub struct Person {
    pub login: u32,
    shell: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Person {
    pub fn new(path: &str, login: u32) -> Self {
        let mut command = shell(path, Some(login), "exec /bin/sh");
        let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, answers) = (shell.stdin.take(), BufReader::new(shell.stdout.take().unwrap()));
        Self { login, shell, orders, answers }
    }

    /// Runs a command, and waits for its end.
    pub fn order(&mut self, command: &str) {
        let mut line = String::new();
        writeln!(line, "{command}; echo done $?").unwrap();
        self.orders.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done 0\n", "{command}");
    }

    /// Adds a rule that says who added it.
    pub fn change(&mut self, number: usize) {
        let login = self.login;
        self.order(&format!("nft add rule inet t c counter comment '\"by {login} {number}\"'"));
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.shell.wait();
    }
}

/// Keeps all cores busy while it lives.
pub struct Load(Vec<Child>);

impl Load {
    pub fn new(count: usize) -> Self {
        let busy = || Command::new("/bin/sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        Self((0..count).map(|_| busy()).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Adds a table of family inet from this very thread, by netlink: names may hold any bytes.
pub fn add_table(name: &[u8]) {
    let generic = |family: u8, resource: u16| [&[family, 0][..], &resource.to_be_bytes()].concat();
    let length = u16::try_from(name.len() + 5).unwrap();
    let mut table = generic(1, 0);
    table.extend(length.to_ne_bytes());
    table.extend([1, 0]);
    table.extend(name);
    table.resize(table.len() + 1, 0);
    table.resize(table.len().next_multiple_of(4), 0);
    let batch =
        [message(16, 1, &generic(0, 10)), message(0xa00, 0x405, &table), message(17, 1, &generic(0, 10))];
    assert_eq!(error_of(&ask(rustix::net::netlink::NETFILTER, &batch.concat())), 0, "add a table");
}

pub fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + payload.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

/// Sends a request and gives the first answer.
pub fn ask(protocol: Protocol, request: &[u8]) -> Vec<u8> {
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, Some(protocol)).unwrap();
    rustix::net::sendto(&socket, request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).unwrap();
    let mut answer = vec![0u8; 4096];
    rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty()).unwrap();
    answer
}

/// The error number of an answer, 0 for success.
pub fn error_of(answer: &[u8]) -> i32 {
    i32::from_ne_bytes(answer[16..20].try_into().unwrap())
}

/// Says loudly that a test was skipped, which is a failure in CI.
#[track_caller]
pub fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}: in CI nothing is skipped");
    eprintln!("SKIPPED: {why}");
}

pub fn is_there(program: &str) -> bool {
    Path::new(program).is_file()
}
