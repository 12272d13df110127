//! The devices of a chain or a flowtable that is updated: an announcement names only those that come or go. Pure.

use super::deeds::Act;
use crate::netlink::nft::{chain, flowtable};
use crate::netlink::{AttrWriter, Attrs};

/// Where devices stand in a definition.
#[derive(Clone, Copy)]
pub struct Devices {
    hook: u16,
    list: u16,
    /// Of one device alone.
    single: Option<u16>,
}

/// Of a chain.
pub const OF_CHAIN: Devices =
    Devices { hook: chain::HOOK, list: chain::HOOK_DEVS, single: Some(chain::HOOK_DEV) };
/// Of a flowtable.
pub const OF_FLOWTABLE: Devices = Devices { hook: flowtable::HOOK, list: flowtable::HOOK_DEVS, single: None };

impl Devices {
    /// The definition after an update, by the one before it and what was announced. None if no device is left: older
    /// kernels announce so that the whole is gone.
    pub fn updated(self, before: &[u8], announced: &[u8], act: Act) -> Option<Vec<u8>> {
        let mut devices = self.names(before);
        let told = self.names(announced);
        match act {
            Act::Put => {
                // The kernel puts them before the others (`nf_tables_commit`, list_splice).
                let mut new = told;
                new.retain(|name| !devices.contains(name));
                new.append(&mut devices);
                devices = new;
            }
            Act::Removed => devices.retain(|name| !told.contains(name)),
        }
        if act == Act::Removed && devices.is_empty() {
            return None;
        }
        // A removal of devices says nothing of the rest.
        let source = if act == Act::Put { announced } else { before };
        let mut out = AttrWriter::new();
        for attr in Attrs(source).flatten() {
            if attr.kind == self.hook {
                out.put(self.hook, &self.hook_with(attr.nested(), &devices));
            } else {
                out.put(attr.kind, attr.payload);
            }
        }
        Some(out.into_bytes())
    }

    fn names(self, attrs: &[u8]) -> Vec<Vec<u8>> {
        let hook = Attrs(attrs).find(self.hook).map(|hook| hook.nested());
        if let Some(list) = hook.and_then(|hook| hook.find(self.list)) {
            return list.nested().flatten().map(|device| device.string().to_vec()).collect();
        }
        let single = hook.and_then(|hook| hook.find(self.single?));
        single.map(|device| device.string().to_vec()).into_iter().collect()
    }

    /// In the kernel's form (nf_tables_api.c, `nft_dump_basechain_hook`).
    fn hook_with(self, hook: Attrs<'_>, devices: &[Vec<u8>]) -> Vec<u8> {
        const DEV_NAME: u16 = 1;
        let mut out = AttrWriter::new();
        for attr in hook.flatten().filter(|attr| attr.kind != self.list && Some(attr.kind) != self.single) {
            out.put(attr.kind, attr.payload);
        }
        let mut list = AttrWriter::new();
        for name in devices {
            list.string(DEV_NAME, name);
        }
        out.put(self.list, list.as_bytes());
        if let ([name], Some(single)) = (devices, self.single) {
            out.string(single, name);
        }
        out.into_bytes()
    }
}
