//! Expressions that decide by what they have counted: free variables, named by what a person would write.

use super::rule::{Flow, Lowering, Making};
use crate::netlink::Attrs;
use crate::traffic::test::Test;

/// `NFT_LIMIT_F_INV`, `NFT_QUOTA_F_INV`, `NFT_CONNLIMIT_F_INV`.
const INVERTED: u32 = 1;

impl Lowering<'_> {
    /// `enum nft_limit_attributes`: tokens of one rule.
    pub(super) fn limit(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        let long = |kind| Some(u64::from_be_bytes(data.find(kind)?.payload.try_into().ok()?));
        let number = |kind| data.find(kind).and_then(|attr| attr.be32());
        let (rate, unit) = (long(1)?, long(2)?);
        let unit = match unit {
            1 => "second".to_owned(),
            60 => "minute".to_owned(),
            3600 => "hour".to_owned(),
            86400 => "day".to_owned(),
            604_800 => "week".to_owned(),
            seconds => format!("{seconds} seconds"),
        };
        let bytes = if number(4) == Some(1) { " bytes" } else { "" };
        let burst = match number(3) {
            Some(0 | 5) | None => String::new(),
            Some(burst) if bytes.is_empty() => format!(" burst {burst} packets"),
            Some(burst) => format!(" burst {burst} bytes"),
        };
        let text = format!("limit rate {rate}{bytes}/{unit}{burst} ({})", self.place(making));
        // The variable says that the rate is not exceeded; `over` asks for the opposite.
        let is_over = number(5).unwrap_or(0) & INVERTED != 0;
        Some(making.test(Test::limit(self.space, &text, true).inverted_if(is_over)))
    }

    /// `enum nft_quota_attributes`.
    pub(super) fn quota(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        let bytes = u64::from_be_bytes(data.find(1)?.payload.try_into().ok()?);
        let text = format!("quota {bytes} bytes ({})", self.place(making));
        let flags = data.find(2).and_then(|attr| attr.be32()).unwrap_or(0);
        Some(making.test(Test::limit(self.space, &text, true).inverted_if(flags & INVERTED != 0)))
    }

    /// `enum nft_connlimit_attributes`.
    pub(super) fn connlimit(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        let count = data.find(1)?.be32()?;
        let text = format!("ct count {count} ({})", self.place(making));
        let flags = data.find(2).and_then(|attr| attr.be32()).unwrap_or(0);
        Some(making.test(Test::limit(self.space, &text, true).inverted_if(flags & INVERTED != 0)))
    }
}
