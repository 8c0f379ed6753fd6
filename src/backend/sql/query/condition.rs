//! The conditions of a filter on one arm, as SQL. Every value is bound.
//!
//! A block of addresses is a condition on bytes, which [`Dialect::address`] makes of the canonical text; and where the
//! text of all addresses of the block begins alike, a range of texts before that, for which there is an index. If the
//! block ends at a dot or a colon that is exact already: `10.0.0.0/8` is what begins with `10.`.

use ipnet::{IpNet, Ipv6Net};

use super::arms::Arm;
use super::statement::Sql;
use super::{Dialect, ends};
use crate::repository::{Column, ColumnKind, Condition, Filter, Sort, Test};

/// In which order rows are wanted: a condition on the other key must not lure SQLite to the other index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    Any,
    By(Sort),
}

/// Adds the conditions that rows of `arm` do not satisfy anyway. None at all lets SQLite count a whole index at once.
pub(super) fn conditions<C: Column, D: Dialect>(mut sql: Sql, arm: &Arm, filter: &Filter<C>, walk: Walk) -> Sql {
    // The sign keeps SQLite from using an index for the column (https://www.sqlite.org/optoverview.html).
    let ts = if walk == Walk::By(Sort::Id) { "+ts" } else { "ts" };
    let id = if walk == Walk::By(Sort::Time) { "+id" } else { "id" };
    for (name, known, asked) in [(ts, arm.times, filter.times()), (id, arm.ids, filter.ids())] {
        if known.0 < asked.0 {
            sql = sql.and().own(name).own(" >= ").number(asked.0);
        }
        if known.1 > asked.1 {
            sql = sql.and().own(name).own(" <= ").number(asked.1);
        }
    }
    for (number, condition) in filter.conditions().iter().enumerate() {
        let Condition { test, is_negated } = condition;
        if *is_negated {
            // Not `NOT`: that is not true of NULL either.
            let negated = one::<C, D>(sql.and().own("("), test);
            sql = known(negated, arm, number).own(") IS NOT TRUE");
        } else {
            sql = known(one::<C, D>(sql.and().own("("), test), arm, number).own(")");
        }
    }
    sql
}

/// Adds the rows of which the database cannot tell that they satisfy a condition, and we can.
fn known(mut sql: Sql, arm: &Arm, number: usize) -> Sql {
    let Some((_, ids)) = arm.known.iter().find(|(known, ids)| *known == number && !ids.is_empty()) else { return sql };
    for (place, id) in ids.iter().enumerate() {
        sql = sql.own(if place == 0 { " OR id IN (" } else { "," }).number(*id);
    }
    sql.own(")")
}

fn one<C: Column, D: Dialect>(sql: Sql, test: &Test<C>) -> Sql {
    match test {
        Test::Is(column, text) => match column.kind() {
            ColumnKind::Text => D::equal(sql, column.name(), text),
            ColumnKind::Address if text.parse::<std::net::IpAddr>().is_ok() => {
                sql.own(column.name()).own(" = ").text(text)
            }
            // What is no address and no number stands in no such column.
            ColumnKind::Address | ColumnKind::Number => sql.own("1 = 0"),
        },
        Test::Present(column) => sql.own(column.name()).own(" IS NOT NULL"),
        Test::Within(column, block) => within::<D>(sql, column.name(), block),
        Test::Between(column, first, last) => between(sql, column.name(), *first, *last),
        Test::Peer(block) => {
            let sql = within::<D>(sql.own("("), "src_ip", block);
            within::<D>(sql.own(") OR ("), "dst_ip", block).own(")")
        }
        Test::Port(first, last) => {
            let sql = between(sql, "src_port", i64::from(*first), i64::from(*last));
            between(sql.own(" OR "), "dst_port", i64::from(*first), i64::from(*last))
        }
        Test::Times(first, last) => between(sql, "ts", *first, *last),
        Test::Ids(first, last) => between(sql, "id", *first, *last),
        Test::Contains(text) => {
            let small = text.to_ascii_lowercase();
            C::PROSE.iter().enumerate().fold(sql, |sql, (place, column)| {
                D::contains(if place == 0 { sql } else { sql.own(" OR ") }, column, &small)
            })
        }
        Test::Field(path, text) => D::field(sql, path, text),
    }
}

fn between(sql: Sql, column: &'static str, first: i64, last: i64) -> Sql {
    if first == last {
        return sql.own(column).own(" = ").number(first);
    }
    sql.own(column).own(" BETWEEN ").number(first).own(" AND ").number(last)
}

fn within<D: Dialect>(mut sql: Sql, column: &'static str, block: &IpNet) -> Sql {
    if block.prefix_len() == block.max_prefix_len() {
        return sql.own(column).own(" = ").text(&block.addr().to_string());
    }
    let (beginning, is_exact) = beginning(block);
    if let Some((text, after)) = range(&beginning) {
        sql = sql.own(column).own(" >= ").text(&text).own(" AND ").own(column).own(" < ").text(&after);
        if is_exact {
            return sql;
        }
        sql = sql.own(" AND ");
    }
    let (first, last) = ends(block);
    let length = first.len() as i64;
    sql = D::address(sql.own("length("), column).own(") = ").number(length).own(" AND ");
    D::address(sql, column).own(" BETWEEN ").bytes(first).own(" AND ").bytes(last)
}

/// Returns the range of texts that begin with `beginning`: from it up to, not including, the second.
fn range(beginning: &str) -> Option<(String, String)> {
    // It ends with a dot or a colon; the character behind is a slash or a semicolon.
    let last = beginning.chars().next_back()?;
    let after = char::from_u32(u32::from(last) + 1)?;
    Some((beginning.to_owned(), format!("{}{after}", &beginning[..beginning.len() - 1])))
}

/// Returns how the canonical text of every address of the block begins, and whether no other's does.
fn beginning(block: &IpNet) -> (String, bool) {
    match block {
        IpNet::V4(block) => {
            let whole = usize::from(block.prefix_len() / 8);
            let octets = block.network().octets();
            let text = octets[..whole].iter().map(|octet| format!("{octet}.")).collect();
            (text, whole > 0 && block.prefix_len().is_multiple_of(8))
        }
        IpNet::V6(block) => beginning_v6(block),
    }
}

/// A group of nothing may be written or not, since the longest run of them is left out: the text is the same as far as
/// there are others. (Addresses that end in a dotted quad begin with nothing but such groups.)
fn beginning_v6(block: &Ipv6Net) -> (String, bool) {
    let whole = usize::from(block.prefix_len() / 16);
    let groups = block.network().segments();
    let plain = groups[..whole].iter().take_while(|group| **group != 0).count();
    let text = groups[..plain].iter().map(|group| format!("{group:x}:")).collect();
    (text, plain > 0 && plain == whole && block.prefix_len().is_multiple_of(16))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The range is an index's; rows outside it are lost whatever the bytes say.
        #[test]
        fn the_text_of_every_address_of_a_block_lies_in_its_range_and_no_other_if_that_is_exact(
            base in prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from), prop::array::uniform8(0..3u16).prop_map(IpAddr::from)],
            length in 0..=128u8,
            others in prop::collection::vec(prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from), prop::array::uniform8(0..3u16).prop_map(IpAddr::from)], 8),
            flips in prop::collection::vec(0..128u32, 8),
        ) {
            let most = if base.is_ipv4() { 32 } else { 128 };
            let block = IpNet::new(base, length.min(most - 1)).unwrap().trunc();
            let (text, is_exact) = beginning(&block);
            let near = flips.iter().map(|bit| match base {
                IpAddr::V4(address) => IpAddr::from((u32::from(address) ^ (1 << (bit % 32))).to_be_bytes()),
                IpAddr::V6(address) => IpAddr::from((u128::from(address) ^ (1 << bit)).to_be_bytes()),
            });
            for address in others.iter().copied().chain(near).chain([base]) {
                let shown = address.to_string();
                let is_in_range = range(&text).is_none_or(|(from, after)| shown >= from && shown < after);
                prop_assert!(is_in_range || !block.contains(&address), "{} {} {}", block, address, text);
                if is_exact {
                    prop_assert_eq!(is_in_range, block.contains(&address), "{} {} {}", block, address, text);
                }
                let octets = match address {
                    IpAddr::V4(address) => address.octets().to_vec(),
                    IpAddr::V6(address) => address.octets().to_vec(),
                };
                let (first, last) = ends(&block);
                let is_between = octets.len() == first.len() && (first..=last).contains(&octets);
                prop_assert_eq!(is_between, block.contains(&address));
            }
        }
    }
}
