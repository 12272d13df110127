use fwdrift::{collect, compare, decode, model::*, normalise::normalise, sys::netns::Netns};
use std::collections::BTreeSet;
#[test]
fn probe() {
    let list = std::env::var("PROBE").unwrap_or_default();
    let (mut ok, mut bad) = (0, 0);
    for path in list.split_whitespace() {
        let json = path.ends_with(".json") || path.ends_with(".json-nft");
        let netns = Netns::create().unwrap();
        let arg = path.to_owned();
        let loaded = netns
            .run(move || {
                for d in ["lo", "eth0", "eth1"] {
                    let _ = collect::links::make(0, d.as_bytes());
                }
                let mut a = vec![];
                if json {
                    a.push("-j");
                }
                a.push("-f");
                a.push(&arg);
                collect::tool::Tool::find("nft").unwrap().args(a).run().is_ok()
            })
            .unwrap();
        if !loaded {
            continue;
        }
        let (capture, _) = collect::capture(&netns).unwrap();
        let rs = match normalise(&capture) {
            Ok(r) => r,
            Err(e) => {
                println!("NORM {path} {e}");
                bad += 1;
                continue;
            }
        };
        let items: BTreeSet<Item> = rs.tables.keys().map(|k| Item::Table(k.clone())).collect();
        let texts = decode::decode(&rs, &items).unwrap();
        let mut fine = true;
        let live = netns
            .run(|| collect::tool::Tool::find("nft").unwrap().args(["-s", "list", "ruleset"]).run())
            .unwrap();
        let live = match live {
            Ok(l) => text_from_kernel(&l.stdout),
            Err(e) => {
                println!("LIVELIST {path} {e}");
                continue;
            }
        };
        for (i, t) in &texts {
            if t.text.starts_with("*") {
                continue;
            }
            if t.text.starts_with("(no tool") {
                println!("REFUSED {path} {}: {}", i.table(), t.text);
                fine = false;
                continue;
            }
            if !live.contains(&t.text) {
                println!("DIFF {path} {}", i.table());
                fine = false;
                for (a, b) in t
                    .text
                    .lines()
                    .zip(live.lines().skip_while(|l| !l.starts_with(&format!("table {} ", i.table()))))
                {
                    if a != b {
                        println!("   mine {a}\n   live {b}");
                        break;
                    }
                }
            }
        }
        // single items
        let mut singles = BTreeSet::new();
        for (k, t) in &rs.tables {
            for (n, c) in &t.chains {
                singles.insert(Item::ChainHead(k.clone(), n.clone()));
                for p in 0..c.rules.len() {
                    singles.insert(Item::Rule(k.clone(), n.clone(), p));
                }
            }
            for (n, s) in &t.sets {
                singles.insert(Item::SetHead(k.clone(), n.clone()));
                for e in s.elements.keys() {
                    singles.insert(Item::Element(k.clone(), n.clone(), e.clone()));
                }
            }
            for (kk, n) in t.objects.keys() {
                singles.insert(Item::Object(k.clone(), *kk, n.clone()));
            }
        }
        let texts = decode::decode(&rs, &singles).unwrap();
        for (i, t) in &texts {
            if t.text.starts_with("(no tool") {
                println!("SINGLE {path} {:?}: {}", i.table().to_string(), t.text);
                fine = false;
            }
        }
        let u = compare::unmatched(&rs, &rs);
        assert!(u.baseline.is_empty() && u.live.is_empty());
        if fine { ok += 1 } else { bad += 1 }
    }
    println!("ok {ok} bad {bad}");
}
#[test]
fn dump_attrs() {
    let Ok(path) = std::env::var("DUMP") else { return };
    let netns = Netns::create().unwrap();
    netns.run(|| collect::tool::Tool::find("nft").unwrap().args(["-f", &path]).run().unwrap()).unwrap();
    let (c, _) = collect::capture(&netns).unwrap();
    for m in &c.messages {
        if m.kind == 6 || m.kind == 9 {
            println!("msg {}", m.kind);
            show(&m.attrs, 1);
        }
    }
    fn show(b: &[u8], d: usize) {
        for a in fwdrift::netlink::Attrs(b).flatten() {
            let nested = a.payload.len() >= 4
                && fwdrift::netlink::Attrs(a.payload).all(|x| x.is_ok_and(|x| x.kind < 30 && x.kind > 0));
            println!(
                "{:w$}{} {:?}",
                "",
                a.kind,
                if nested {
                    "nest".into()
                } else {
                    format!("{:02x?} {}", a.payload, text_from_kernel(a.payload))
                },
                w = d * 2
            );
            if nested {
                show(a.payload, d + 1);
            }
        }
    }
}
