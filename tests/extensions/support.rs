//! Rules made with the real programs, lowered, and asked about single packets.

use fwdrift::collect;
use fwdrift::model::{Name, Ruleset};
use fwdrift::normalise::normalise;
use fwdrift::sys::netns::Netns;
use fwdrift::tool::Tool;
use fwdrift::traffic::bdd::{Bit, Var};
use fwdrift::traffic::evaluate::Packet;
use fwdrift::traffic::lower::{Common, lower};
use fwdrift::traffic::program::{Program, Step, Verdict};
use fwdrift::traffic::space::asked;
use fwdrift::traffic::space::{Base, Key, Kind, Nature, Space};

/// A namespace for one test.
pub struct Host {
    netns: Netns,
    lock: tempfile::TempDir,
}

impl Host {
    pub fn new() -> Self {
        Self { netns: Netns::create().unwrap(), lock: tempfile::tempdir().unwrap() }
    }

    pub fn run(&self, program: &str, args: &[String], input: Option<&str>) -> Result<(), String> {
        let run = || {
            let tool = Tool::find(program).unwrap().args(args.iter().cloned());
            let tool = tool.env("XTABLES_LOCKFILE", self.lock.path().join("lock").to_str().unwrap());
            if let Some(input) = input { tool.input(input.as_bytes().to_vec()) } else { tool }.run()
        };
        self.netns.run(run).unwrap().map(drop).map_err(|error| error.to_string())
    }

    /// What a program prints.
    pub fn output(&self, program: &str, args: &[&str]) -> String {
        let run = || Tool::find(program).unwrap().args(args.iter().copied()).run();
        String::from_utf8_lossy(&self.netns.run(run).unwrap().unwrap().stdout).into_owned()
    }

    /// Does something in the namespace.
    pub fn inside(&self, work: impl FnOnce() + Send) {
        self.netns.run(work).unwrap();
    }

    /// Feeds ipset a script.
    pub fn ipset(&self, script: &str) {
        self.run("ipset", &["restore".to_owned()], Some(script)).unwrap();
    }

    /// Each rule in a chain of its own, `c0`, `c1` and so on.
    pub fn load(&self, program: &str, table: &str, rules: &[&str]) {
        let mut text = format!("*{table}\n");
        for at in 0..rules.len() {
            text.push_str(&format!(":c{at} - [0:0]\n"));
        }
        for (at, rule) in rules.iter().enumerate() {
            text.push_str(&format!("-A c{at} {rule}\n"));
        }
        text.push_str("COMMIT\n");
        self.run(program, &[], Some(&text)).unwrap();
    }

    pub fn ruleset(&self) -> Ruleset {
        let (capture, gaps) = collect::capture(&self.netns, None).unwrap();
        assert!(gaps.is_empty(), "{gaps:?}");
        normalise(&capture).unwrap()
    }

    pub fn lowered(&self, kind: Kind) -> Lowered {
        Lowered::new(&self.ruleset(), kind)
    }
}

/// A ruleset as steps.
pub struct Lowered {
    pub space: Space,
    program: Program,
}

/// What became of a packet in a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Some rule decided.
    Decided(Verdict),
    /// None did.
    Passed,
}

impl Lowered {
    pub fn new(ruleset: &Ruleset, kind: Kind) -> Self {
        let mut space = Space::new(kind);
        let program = lower(ruleset, None, &mut space, &mut Common::default());
        Self { space, program }
    }

    /// Sends a packet through a chain: what becomes of it, and what of its bits.
    pub fn send(&self, chain: &str, mut packet: Packet) -> (Fate, Packet) {
        let name = Name(chain.as_bytes().to_vec());
        let (_, chain) = self.program.chains().find(|(_, chain)| chain.name == name).unwrap();
        let mut translated = Vec::new();
        for rule in &chain.rules {
            if let Some(verdict) = steps(&rule.steps, &mut packet, &mut translated) {
                packet.change(&translated);
                return (Fate::Decided(verdict), packet);
            }
        }
        (Fate::Passed, packet)
    }

    /// The steps of a chain's first rule.
    pub fn steps(&self, chain: &str) -> &[Step] {
        let name = Name(chain.as_bytes().to_vec());
        let (_, chain) = self.program.chains().find(|(_, chain)| chain.name == name).unwrap();
        &chain.rules[0].steps
    }

    pub fn matches(&self, chain: usize, packet: &Packet) -> bool {
        self.send(&format!("c{chain}"), packet.clone()).0 != Fate::Passed
    }

    /// A packet by words such as `saddr 10.0.0.1`, separated by commas; without a state, it is new.
    pub fn packet(&mut self, words: &str) -> Packet {
        let mut packet = Packet::default();
        if !words.contains("state") {
            packet.put_var(self.space.state("new").unwrap(), true);
        }
        for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once(' ').unwrap();
            self.put(&mut packet, name, value);
        }
        packet
    }

    fn put(&mut self, packet: &mut Packet, name: &str, value: &str) {
        let number = || match value.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
            None => value.parse().unwrap_or_else(|_| panic!("{value} is no number")),
        };
        match name {
            "state" => packet.put_var(self.space.state(value).unwrap(), true),
            "iif" => packet.iif = value.as_bytes().to_vec(),
            "oif" => packet.oif = value.as_bytes().to_vec(),
            "free" => {
                let word = self.space.words().iter().find(|word| word.name.contains(value));
                let word = word.unwrap_or_else(|| panic!("no word has {value}: {:?}", self.free_words()));
                packet.put_var(word.start, true);
            }
            "ctorigsrc" => {
                let word = self.space.ct(asked::CT_SRC, Some(0)).unwrap();
                packet.put(&word, &address(value));
            }
            "ctorigdst" => {
                let word = self.space.ct(asked::CT_DST, Some(0)).unwrap();
                packet.put(&word, &address(value));
            }
            "saddr" | "daddr" => {
                let word = self.word(name);
                packet.put(&word, &address(value));
            }
            _ => {
                let word = self.word(name);
                put_number(packet, &word, number());
            }
        }
    }

    pub fn word(&mut self, name: &str) -> Vec<Bit> {
        let space = &mut self.space;
        let is_ip6 = space.kind() == Kind::Ip6;
        match name {
            "saddr" if is_ip6 => space.payload(Base::Network, 8, 16),
            "daddr" if is_ip6 => space.payload(Base::Network, 24, 16),
            "saddr" => space.payload(Base::Network, 12, 4),
            "daddr" => space.payload(Base::Network, 16, 4),
            "sport" => space.payload(Base::Transport, 0, 2),
            "dport" => space.payload(Base::Transport, 2, 2),
            "flags" => space.payload(Base::Transport, 13, 1),
            "type" => space.payload(Base::Transport, 0, 1),
            "code" => space.payload(Base::Transport, 1, 1),
            "protocol" => space.protocol(),
            "service" if is_ip6 => space.payload(Base::Network, 0, 2)[4..12].to_vec(),
            "service" => space.payload(Base::Network, 1, 1),
            "length" if is_ip6 => space.payload(Base::Network, 4, 2),
            "length" => space.payload(Base::Network, 2, 2),
            "id" => space.payload(Base::Network, 4, 2),
            "fragment" => space.payload(Base::Network, 6, 2)[3..].to_vec(),
            "ttl" if is_ip6 => space.payload(Base::Network, 7, 1),
            "ttl" => space.payload(Base::Network, 8, 1),
            "mark" => space.mark(),
            "ctmark" => space.ct_mark(),
            "direction" => space.bits(Key::Direction, "ct direction", 1, Nature::Modelled),
            "status" => space.ct(2, None).unwrap(),
            "expiration" => space.ct(5, None).unwrap(),
            "ctproto" => space.ct(asked::CT_PROTOCOL, None).unwrap(),
            "ctorigdstport" => space.ct(asked::CT_PROTO_DST, Some(0)).unwrap(),
            "uid" => space.meta(10).unwrap(),
            "pkttype" => space.meta(19).unwrap(),
            "iiftype" => space.meta(8).unwrap(),
            "cpu" => space.meta(20).unwrap(),
            "ipsec" => space.meta(25).unwrap(),
            "realm" => space.meta(13).unwrap(),
            "ethersource" => space.payload(Base::Link, 6, 6),
            "operation" => space.payload(Base::Network, 6, 2),
            "arpsource" => space.payload(Base::Network, 14, 4),
            "arplen" => space.payload(Base::Network, 5, 1),
            "arptype" => space.payload(Base::Network, 2, 2),
            "daddrtype" => space.fib_type("daddr"),
            "saddrtype" => space.fib_type("saddr"),
            _ => panic!("no word {name}"),
        }
    }

    /// A word of a packet, as a number.
    pub fn number(&mut self, packet: &Packet, name: &str) -> u128 {
        let word = self.word(name);
        packet.value(&word).iter().fold(0, |value, byte| value << 8 | u128::from(*byte))
    }

    pub fn free_words(&self) -> Vec<&str> {
        let free = self.space.words().iter().filter(|word| word.nature == Nature::Free);
        free.map(|word| word.name.as_str()).collect()
    }
}

/// A number in a word that may be no whole bytes.
fn put_number(packet: &mut Packet, word: &[Bit], value: u64) {
    for (place, bit) in word.iter().rev().enumerate() {
        let is = place < 64 && value >> place & 1 == 1;
        if let Bit::Var(var) = bit {
            packet.put_var(*var, is);
        }
    }
}

fn address(text: &str) -> Vec<u8> {
    match text.parse().unwrap() {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// What the steps decide; none if the packet goes on with the next rule.
fn steps(steps: &[Step], packet: &mut Packet, translated: &mut Vec<(Var, Bit)>) -> Option<Verdict> {
    match one_by_one(steps, packet, translated) {
        Ok(()) => None,
        Err(verdict) => verdict,
    }
}

/// `Ok`: all were done, and the rule goes on. `Err`: it ends, with a verdict or without.
fn one_by_one(
    steps: &[Step],
    packet: &mut Packet,
    translated: &mut Vec<(Var, Bit)>,
) -> Result<(), Option<Verdict>> {
    for step in steps {
        match step {
            Step::Test(test) if !test.holds(packet) => return Err(None),
            Step::Test(_) => {}
            Step::Set(changes) => packet.change(changes),
            Step::Translate(changes) => translated.extend_from_slice(changes),
            Step::Branch(ways) => {
                let way = ways.iter().find(|(test, _)| test.holds(packet)).ok_or(None)?;
                one_by_one(&way.1, packet, translated)?;
            }
            Step::Verdict(verdict) => return Err(Some(*verdict)),
        }
    }
    Ok(())
}

/// Loads rules, each ending in ACCEPT, and sends packets to each: those in `hits` match it, those in `misses` do not.
#[track_caller]
pub fn check(host: &Host, kind: Kind, cases: &[(&str, &[&str], &[&str])]) -> Lowered {
    let rules: Vec<String> = cases.iter().map(|(rule, ..)| format!("{rule} -j ACCEPT")).collect();
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let (program, table) = if kind == Kind::Ip6 {
        ("ip6tables-nft-restore", "mangle")
    } else {
        ("iptables-nft-restore", "mangle")
    };
    host.load(program, table, &rules);
    let mut lowered = host.lowered(kind);
    for (at, (rule, hits, misses)) in cases.iter().enumerate() {
        for (words, expected) in
            hits.iter().map(|hit| (hit, true)).chain(misses.iter().map(|miss| (miss, false)))
        {
            let packet = lowered.packet(words);
            assert_eq!(lowered.matches(at, &packet), expected, "{rule}: {words}");
        }
    }
    lowered
}
