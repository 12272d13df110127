//! The oracle: what `nft -s -a list ruleset` says of the live namespace, read by the test itself.

/// A whole listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub tables: Vec<Table>,
}

/// One table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub family: String,
    pub name: String,
    /// As `nft -s list table` prints it.
    pub text: String,
    pub objects: Vec<Object>,
}

/// A chain, a set, a map or a stateful object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// `chain`, `set`, `map`, `counter`, …
    pub kind: String,
    pub name: String,
    /// From its first line to its closing brace.
    pub text: String,
    /// Of a chain: type, hook, policy, comment; one a line.
    pub head: String,
    /// Of a chain.
    pub rules: Vec<Rule>,
    /// Of a set or a map.
    pub elements: Vec<String>,
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub handle: u64,
    pub text: String,
}

impl Table {
    /// The table's own lines: its flags and its comment.
    pub fn head(&self) -> String {
        let inner = self.text.lines().skip(1).map(|line| line.strip_prefix('\t').unwrap_or_default());
        let own = |line: &&str| line.starts_with("flags ") || line.starts_with("comment \"");
        inner.take_while(own).collect::<Vec<_>>().join("\n")
    }
}

impl Object {
    /// A set's text without its elements.
    pub fn without_elements(&self) -> String {
        let text = self.text.split_once("\telements = {").map_or(self.text.as_str(), |(head, _)| head);
        format!("{}}}", text.trim_end_matches('}'))
    }
}

/// `text # handle N` without its end, and N.
fn split_handle(line: &str) -> (&str, Option<u64>) {
    match line.rsplit_once(" # handle ") {
        Some((text, number)) => match number.parse() {
            Ok(number) => (text, Some(number)),
            Err(_) => (line, None),
        },
        None => (line, None),
    }
}

impl Listing {
    pub fn parse(listing: &str) -> Self {
        let mut tables: Vec<Table> = Vec::new();
        let mut lines = listing.lines();
        while let Some(line) = lines.next() {
            let (plain, _) = split_handle(line);
            let words: Vec<&str> = plain.split(' ').collect();
            let ["table", family, name, "{"] = words[..] else { panic!("not a table: {line:?}") };
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "}").collect();
            let inner: Vec<&str> = body.iter().map(|line| split_handle(line).0).collect();
            tables.push(Table {
                family: family.to_owned(),
                name: name.to_owned(),
                text: std::iter::once(plain).chain(inner).chain(["}"]).collect::<Vec<_>>().join("\n"),
                objects: objects(&body),
            });
        }
        Self { tables }
    }

    pub fn table(&self, family: &str, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.family == family && table.name == name)
    }

    /// The object of a kind and name of a table.
    pub fn object(&self, at: &Place) -> Option<&Object> {
        let table = self.table(&at.family, &at.table)?;
        table.objects.iter().find(|object| object.kind == at.kind && object.name == at.name)
    }

    /// Whether a set's elements are the packet path's: by its flag, or because a rule writes to it.
    pub fn is_dynamic(&self, at: &Place, set: &Object) -> bool {
        let written = [format!(" @{} {{", at.name), format!("\t@{} {{", at.name)];
        let table = self.table(&at.family, &at.table).map_or("", |table| &table.text);
        set.text.lines().any(|line| line.starts_with("\tflags") && line.contains("dynamic"))
            || written.iter().any(|words| table.contains(words))
    }

    /// Whether a rule or an element of its table seems to name an object.
    pub fn is_named_elsewhere(&self, at: &Place) -> bool {
        let Some(table) = self.table(&at.family, &at.table) else { return false };
        let used = |text: &str| {
            let words = |c: char| c.is_whitespace() || ",@\"{};".contains(c);
            text.split(words).any(|word| word == at.name)
        };
        let objects = table.objects.iter();
        objects.flat_map(|o| o.rules.iter().map(|rule| &rule.text).chain(&o.elements)).any(|text| used(text))
    }

    /// The listing without the elements that no baseline holds: those of dynamic sets.
    pub fn without_dynamic_elements(&self) -> Self {
        let mut copy = self.clone();
        for place in self.places(&["set", "map"]) {
            let Some(set) = self.object(&place).filter(|set| self.is_dynamic(&place, set)) else { continue };
            let Some((head, _)) = set.text.split_once("\telements = {") else { continue };
            let table =
                copy.tables.iter_mut().find(|t| t.family == place.family && t.name == place.table).unwrap();
            let new = format!("{head}}}");
            let indented = |text: &str| format!("\t{}", text.replace('\n', "\n\t"));
            table.text = table.text.replace(&indented(&set.text), &indented(&new));
            let of_kind = |object: &&mut Object| object.kind == place.kind && object.name == place.name;
            table.objects.iter_mut().find(of_kind).unwrap().text = new;
        }
        copy
    }

    /// Where all objects of these kinds are.
    pub fn places(&self, kinds: &[&str]) -> Vec<Place> {
        let mut places = Vec::new();
        for table in &self.tables {
            for object in table.objects.iter().filter(|object| kinds.contains(&object.kind.as_str())) {
                places.push(Place {
                    family: table.family.clone(),
                    table: table.name.clone(),
                    kind: object.kind.clone(),
                    name: object.name.clone(),
                });
            }
        }
        places
    }
}

/// The address of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub family: String,
    pub table: String,
    pub kind: String,
    pub name: String,
}

impl Place {
    /// As nft takes it in a command: `inet filter input`.
    pub fn path(&self) -> String {
        format!("{} {} {}", self.family, self.table, self.name)
    }
}

fn objects(body: &[&str]) -> Vec<Object> {
    let mut found = Vec::new();
    let mut lines = body.iter();
    while let Some(line) = lines.next() {
        let plain = split_handle(line).0;
        let Some(first) = plain.strip_prefix('\t').filter(|first| first.ends_with(" {")) else { continue };
        let inside: Vec<&str> = lines.by_ref().take_while(|line| **line != "\t}").copied().collect();
        let words: Vec<&str> = first.trim_end_matches(" {").split(' ').collect();
        let mut object = Object {
            kind: words[..words.len() - 1].join(" "),
            name: words[words.len() - 1].to_owned(),
            text: format!("{first}\n"),
            ..Object::default()
        };
        for line in &inside {
            let plain = split_handle(line).0;
            object.text.push_str(plain.strip_prefix('\t').unwrap_or(plain));
            object.text.push('\n');
        }
        object.text.push('}');
        match object.kind.as_str() {
            "chain" => (object.head, object.rules) = chain(&inside),
            "set" | "map" => object.elements = elements(&inside),
            _ => {}
        }
        found.push(object);
    }
    found
}

/// A chain's own lines, and its rules: each ends with the line that carries its handle, or, where it holds
/// a chain of its own, with that chain's brace.
fn chain(lines: &[&str]) -> (String, Vec<Rule>) {
    let own = |line: &&&str| {
        let inner = line.trim_start_matches('\t');
        ["type ", "comment \"", "flags "].iter().any(|start| inner.starts_with(start))
            && split_handle(line).1.is_none()
    };
    let head: Vec<&str> = lines.iter().take_while(own).map(|line| line.trim_start()).collect();
    let mut rules = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    let mut nested: Option<u64> = None;
    for line in &lines[head.len()..] {
        let (plain, handle) = split_handle(line);
        open.push(plain.strip_prefix("\t\t").unwrap_or(plain));
        let ended = match (nested, handle) {
            (Some(outer), _) if line.starts_with("\t\t}") => Some(outer),
            (Some(_), _) => None,
            (None, Some(outer)) if plain.ends_with('{') => {
                nested = Some(outer);
                None
            }
            (None, handle) => handle,
        };
        if let Some(handle) = ended {
            rules.push(Rule { handle, text: std::mem::take(&mut open).join("\n") });
            nested = None;
        }
    }
    assert!(open.is_empty(), "half a rule: {open:?}");
    (head.join("\n"), rules)
}

/// The elements of a set, split at the commas that stand outside quotes.
fn elements(lines: &[&str]) -> Vec<String> {
    let Some(start) = lines.iter().position(|line| line.starts_with("\t\telements = {")) else {
        return Vec::new();
    };
    let all = lines[start..].iter().map(|line| line.trim_start()).collect::<Vec<_>>().join(" ");
    let inner = all.strip_prefix("elements = {").and_then(|rest| rest.trim_end().strip_suffix('}')).unwrap();
    let mut found = vec![String::new()];
    let mut quoted = false;
    for character in inner.chars() {
        quoted ^= character == '"';
        match (character, quoted) {
            (',', false) => found.push(String::new()),
            _ => found.last_mut().unwrap().push(character),
        }
    }
    found.into_iter().map(|element| element.trim().to_owned()).collect()
}
