//! A namespace of its own, heard from the start, and batches that a test makes by itself.

use fwdrift::collect;
use fwdrift::collect::transactions::{News, Transactions};
use fwdrift::model::{Backend, Capture, Family, Name, Ruleset, TableKey, Transaction};
use fwdrift::netlink::nft::{self, msg, rule};
use fwdrift::netlink::{AttrWriter, Attrs, flags, put_message};
use fwdrift::normalise::normalise;
use fwdrift::sys::netns::Netns;
use fwdrift::sys::socket::Socket;
use fwdrift::tool::Tool;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

pub struct Lab {
    pub netns: Netns,
    pub heard: Transactions,
}

impl Lab {
    pub fn new() -> Self {
        let netns = Netns::create().unwrap();
        let heard = Transactions::open(&netns).unwrap();
        Self { netns, heard }
    }

    /// Runs nft on a script; whether it was taken.
    pub fn try_nft(&self, script: &str) -> bool {
        let run = || Tool::find("nft").unwrap().args(["-f", "-"]).input(script.as_bytes().to_vec()).run();
        self.netns.run(run).unwrap().is_ok()
    }

    pub fn nft(&self, script: &str) {
        let run = || Tool::find("nft").unwrap().args(["-f", "-"]).input(script.as_bytes().to_vec()).run();
        self.netns.run(run).unwrap().unwrap_or_else(|error| panic!("{error}\n{script}"));
    }

    pub fn run(&self, name: &str, arguments: &[&str]) {
        let run = || Tool::find(name).unwrap().args(arguments.iter().copied()).run();
        self.netns.run(run).unwrap().unwrap_or_else(|error| panic!("{error}"));
    }

    /// All that was heard, of which nothing may be lost.
    pub fn hear(&mut self) -> Vec<Transaction> {
        let News { transactions, lost } = self.heard.receive().unwrap();
        assert!(!lost);
        assert!(transactions.iter().all(|transaction| transaction.left_out == 0));
        transactions
    }

    /// The one transaction that a script makes.
    pub fn transaction(&mut self, script: &str) -> Transaction {
        self.nft(script);
        let mut heard = self.hear();
        assert_eq!(heard.len(), 1, "{script}");
        heard.remove(0)
    }

    pub fn capture(&self) -> Capture {
        let (capture, gaps) = collect::capture(&self.netns, None).unwrap();
        assert!(gaps.is_empty(), "{gaps:?}");
        capture
    }

    pub fn ruleset(&self) -> Ruleset {
        normalise(&self.capture()).unwrap()
    }
}

pub fn key(family: Family, name: &str) -> TableKey {
    TableKey { backend: Backend::NfTables, family, name: self::name(name) }
}

pub fn name(name: &str) -> Name {
    Name(name.as_bytes().to_vec())
}

/// The handles of each chain's rules in order.
pub fn handles(capture: &Capture) -> BTreeMap<(TableKey, Name), Vec<u64>> {
    let mut found: BTreeMap<(TableKey, Name), Vec<u64>> = BTreeMap::new();
    for message in capture.messages.iter().filter(|message| message.kind == msg::NEWRULE) {
        let attrs = Attrs(&message.attrs);
        let text = |kind| Name(attrs.find(kind).unwrap().string().to_vec());
        let family = Family::from_number(message.family).unwrap();
        let key = TableKey { backend: Backend::NfTables, family, name: text(rule::TABLE) };
        let handle = attrs.find(rule::HANDLE).unwrap().be64().unwrap();
        found.entry((key, text(rule::CHAIN))).or_default().push(handle);
    }
    found
}

/// A batch as a program sends it.
pub struct Batch {
    bytes: Vec<u8>,
    last: u32,
}

impl Batch {
    pub fn new() -> Self {
        let mut batch = Self { bytes: Vec::new(), last: 0 };
        batch.frame(nft::BATCH_BEGIN);
        batch
    }

    fn frame(&mut self, kind: u16) {
        self.last += 1;
        let header = [0, 0, (nft::SUBSYSTEM >> 8) as u8, (nft::SUBSYSTEM & 0xff) as u8];
        put_message(&mut self.bytes, kind, flags::REQUEST, self.last, &[&header]);
    }

    /// Adds a message; each asks for an acknowledgement, as the last has to.
    pub fn push(&mut self, message: u8, more: u16, family: Family, attrs: &AttrWriter) {
        self.last += 1;
        let header = nft::nfgenmsg(family.number());
        let body: [&[u8]; 2] = [&header, attrs.as_bytes()];
        let flags = flags::REQUEST | flags::ACK | more;
        put_message(&mut self.bytes, nft::kind(message), flags, self.last, &body);
    }

    /// Sends it from the calling thread, in its namespace. The refusals' numbers.
    pub fn send(mut self, socket: &mut Socket) -> Vec<i32> {
        let last = self.last;
        self.frame(nft::BATCH_END);
        let refused = socket.batch(&self.bytes, 1, last).unwrap();
        refused.into_iter().filter_map(|(_, error)| error.raw_os_error()).collect()
    }
}

/// The attributes of a thing by the names of its table and its own.
pub fn named(table: (u16, &str), own: (u16, &str)) -> AttrWriter {
    let mut attrs = AttrWriter::new();
    attrs.string(table.0, table.1.as_bytes()).string(own.0, own.1.as_bytes());
    attrs
}

/// Ends what runs beside a test when the test ends, also by a failure.
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Opens a socket on which batches are sent; call it inside the namespace.
pub fn sender() -> Socket {
    Socket::open(Some(rustix::net::netlink::NETFILTER)).unwrap()
}
