//! Kernel settings and BPF programs on their way through a look: which are read, and what of them is compared.
//! Pure.

use super::PipelineError;
use crate::baseline;
use crate::compare;
use crate::model::{Backend, Files, Gap, Ruleset, SettingsList, Table, TableKey};
use crate::policy;

/// The settings to read for a baseline: the list of this version, what the baseline names, what the policy says.
pub(super) fn listed(files: &Files, policy: &[u8]) -> Result<SettingsList, PipelineError> {
    let names = baseline::context_names(files, Backend::Sysctl);
    Ok(policy::parse(policy)?.settings.with_approved(names))
}

/// The settings of one look, as far as they are not in the two rulesets.
#[derive(Debug)]
pub(super) struct Context {
    list: SettingsList,
    /// The baseline's own words; none if it has no file of settings.
    written: Option<Table>,
    /// The live settings that are not compared, because nothing is approved of them.
    pub(super) left_out: Option<Table>,
}

impl Context {
    /// What is read.
    pub(super) fn list(&self) -> &SettingsList {
        &self.list
    }

    /// Leaves in both rulesets what is to be compared. A baseline without a file of settings says nothing about
    /// them: they are taken out, which is a gap.
    pub(super) fn settle(
        list: SettingsList,
        live: &mut Ruleset,
        approved: &mut Ruleset,
        gaps: &mut Vec<Gap>,
    ) -> Self {
        let key = TableKey::of_all(Backend::Sysctl);
        let written = approved.tables.get(&key).cloned();
        compare::settle(live, approved, &list);
        let left_out = if written.is_none() { live.tables.remove(&key) } else { None };
        if left_out.is_some() {
            gaps.push(no_settings());
        }
        Self { list, written, left_out }
    }

    /// Makes the settings of the look before comparable with `approved`, which was settled with `live`. What was
    /// not recorded then is taken to have been as it is now.
    pub(super) fn settle_past(&self, then: &mut Ruleset, approved: &Ruleset, live: &Ruleset) {
        let key = TableKey::of_all(Backend::Sysctl);
        let (Some(written), Some(settled)) = (&self.written, approved.tables.get(&key)) else {
            then.tables.remove(&key);
            return;
        };
        let Some(past) = then.tables.remove(&key) else {
            then.tables.extend(live.tables.get(&key).map(|table| (key, table.clone())));
            return;
        };
        let only =
            |table: &Table| Ruleset { tables: [(key.clone(), table.clone())].into(), ..Ruleset::default() };
        let (mut past, mut before) = (only(&past), only(written));
        compare::settle(&mut past, &mut before, &self.list);
        let mut past = past.tables.remove(&key).unwrap_or_default();
        past.objects
            .retain(|name, _| settled.objects.contains_key(name) || !written.objects.contains_key(name));
        for (name, object) in settled.objects.iter().filter(|(name, _)| !written.objects.contains_key(*name))
        {
            past.objects.entry(name.clone()).or_insert_with(|| object.clone());
        }
        then.tables.insert(key, past);
    }
}

/// The baseline has no file of settings.
pub(super) fn no_settings() -> Gap {
    Gap {
        source: "sysctl".to_owned(),
        reason: "kernel settings are not part of this baseline".to_owned(),
        hint: Some("`fwdrift approve` adds them".to_owned()),
        blinds_verdict: false,
    }
}

/// Authored files with another context: what `rendered` says of settings and programs, all else as it is.
pub(super) fn with_context_of(authored: &Files, rendered: &Files) -> Files {
    let kept = authored.iter().filter(|(path, _)| !baseline::is_context(path));
    let new = rendered.iter().filter(|(path, _)| baseline::is_context(path));
    kept.chain(new).map(|(path, content)| (path.clone(), content.clone())).collect()
}
