//! stub
use crate::model::{Family, Ruleset};
use crate::netlink::Attrs;
use crate::traffic::program::Step;
use crate::traffic::space::Space;
use crate::traffic::test::Test;
pub struct Asked<'a> {
    pub name: &'a [u8],
    pub revision: u32,
    pub info: &'a [u8],
    pub data: Attrs<'a>,
    pub family: Family,
    pub ruleset: &'a Ruleset,
    pub place: &'a str,
}
pub fn matched(space: &mut Space, asked: &Asked<'_>) -> Test {
    Test::free(space, &String::from_utf8_lossy(asked.name))
}
pub fn target(_: &mut Space, _: &Asked<'_>) -> Vec<Step> {
    Vec::new()
}
pub fn uses_set(_: &[u8]) -> bool {
    false
}
pub fn names_set(_: &[u8], _: &crate::model::Name, _: &Ruleset) -> bool {
    true
}
