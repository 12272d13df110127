//! The table at the end of the test.

/// What became of one claim for one ruleset.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// As it should be.
    Right,
    /// Not, and how.
    Wrong(String),
    /// The ruleset has nothing to make this change to.
    NotApplicable,
}

#[derive(Default)]
struct Row {
    claim: &'static str,
    right: usize,
    wrong: usize,
    not_applicable: usize,
}

/// The sum over all rulesets.
#[derive(Default)]
pub struct Results {
    /// Rulesets that load here.
    pub loaded: usize,
    not_loaded: usize,
    with_exact: usize,
    rows: Vec<Row>,
    /// Ruleset, claim, what was reported.
    pub wrong: Vec<String>,
}

impl Results {
    /// All rulesets.
    pub fn of(&self) -> usize {
        self.loaded + self.not_loaded
    }

    /// Adds one ruleset.
    pub fn add(&mut self, ruleset: &str, outcomes: Option<(bool, Vec<(&'static str, Outcome)>)>) {
        let Some((exact, outcomes)) = outcomes else {
            self.not_loaded += 1;
            return;
        };
        self.loaded += 1;
        self.with_exact += usize::from(exact);
        for (claim, outcome) in outcomes {
            let place = self.rows.iter().position(|row| row.claim == claim).unwrap_or_else(|| {
                self.rows.push(Row { claim, ..Row::default() });
                self.rows.len() - 1
            });
            let row = &mut self.rows[place];
            match outcome {
                Outcome::Right => row.right += 1,
                Outcome::NotApplicable => row.not_applicable += 1,
                Outcome::Wrong(why) => {
                    row.wrong += 1;
                    self.wrong.push(format!("{ruleset}: {claim}: {why}"));
                }
            }
        }
    }

    /// The table, in Markdown: how often each claim was put to the test, and held.
    pub fn table(&self) -> String {
        let mut out = format!(
            "{} load here, {} do not; {} need an exact form beside the text\n\n\
             | claim | applied | exactly | wrong | not applicable |\n|---|---|---|---|---|\n",
            self.loaded, self.not_loaded, self.with_exact,
        );
        for Row { claim, right, wrong, not_applicable } in &self.rows {
            out += &format!("| {claim} | {} | {right} | {wrong} | {not_applicable} |\n", right + wrong);
        }
        let sum = |of: fn(&Row) -> usize| self.rows.iter().map(of).sum::<usize>();
        let (right, wrong) = (sum(|row| row.right), sum(|row| row.wrong));
        out + &format!("| **together** | {} | {right} | {wrong} | |\n", right + wrong)
    }
}
