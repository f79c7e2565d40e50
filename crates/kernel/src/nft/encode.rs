//! Rows as operations of a transaction.

use plan::nft::{Chain, ChainKind, HookPoint, Key, Rule, Set, TABLE, TableFamily};

use super::abi;
use super::expression::Expression;
use super::lower::{Inexpressible, lower};
use super::set::write_declaration;
use super::wire::Writer;

/// `NF_ACCEPT`.
const ACCEPT: u32 = 1;

/// Longest comment: its length, with the zero byte behind it, is one byte.
const COMMENT: usize = 254;

/// A rule ready to be written.
#[derive(Debug)]
pub(super) struct Lowered {
    expressions: Vec<Expression>,
    comment: Option<String>,
}

/// Lowers the rules of a chain.
///
/// # Errors
/// [`Inexpressible`] names the first rule that the kernel has no expressions for.
pub(super) fn lower_all(
    family: TableFamily,
    rules: &[Rule],
) -> Result<Vec<Lowered>, Inexpressible> {
    rules.iter().map(|rule| lower_one(family, rule)).collect()
}

fn lower_one(family: TableFamily, rule: &Rule) -> Result<Lowered, Inexpressible> {
    let in_rule = |why: Inexpressible| Inexpressible(format!("rule {rule}: {}", why.0));
    let comment = rule.comment.clone();
    let usable = |text: &String| text.len() <= COMMENT && !text.contains('\0');
    if !comment.as_ref().is_none_or(usable) {
        let why = format!("its comment is longer than {COMMENT} bytes or holds a zero");
        return Err(in_rule(Inexpressible(why)));
    }
    Ok(Lowered { expressions: lower(family, rule).map_err(in_rule)?, comment })
}

/// A table of the kernel's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    pub(super) name: &'static str,
    /// `NFT_TABLE_F_`.
    pub(super) flags: u32,
}

impl Named {
    /// The table of a plan.
    pub(super) const PLANNED: Named = Named { name: TABLE, flags: 0 };

    /// Names a table.
    pub(super) fn write_name(self, out: &mut Writer) {
        out.text(abi::table::NAME, self.name);
    }

    /// Declares a table.
    pub(super) fn write(self, out: &mut Writer) {
        self.write_name(out);
        if self.flags != 0 {
            out.be32(abi::table::FLAGS, self.flags);
        }
    }
}

/// Names a set.
pub(super) fn write_set_name(out: &mut Writer, table: Named, key: &Key) {
    out.text(abi::set::TABLE, table.name);
    out.text(abi::set::NAME, name(key));
}

/// Declares a set.
pub(super) fn write_set(out: &mut Writer, table: Named, key: &Key, declared: &Set) {
    write_set_name(out, table, key);
    write_declaration(out, declared);
}

/// Names a chain.
pub(super) fn write_chain_name(out: &mut Writer, table: Named, key: &Key) {
    out.text(abi::chain::TABLE, table.name);
    out.text(abi::chain::NAME, name(key));
}

/// Declares a chain.
pub(super) fn write_chain(out: &mut Writer, table: Named, key: &Key, chain: &Chain) {
    write_chain_name(out, table, key);
    let Some(hook) = chain.hook else { return };
    out.nest(abi::chain::HOOK, |out| {
        out.be32(abi::chain::HOOK_NUM, hook_number(hook.point));
        out.be32(abi::chain::HOOK_PRIORITY, hook.priority.cast_unsigned());
    });
    out.be32(abi::chain::POLICY, ACCEPT);
    out.text(
        abi::chain::TYPE,
        match hook.kind {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
        },
    );
}

/// Names all rules of a chain.
pub(super) fn write_rules_of(out: &mut Writer, table: Named, key: &Key) {
    out.text(abi::rule::TABLE, table.name);
    out.text(abi::rule::CHAIN, name(key));
}

/// A rule at the end of a chain.
pub(super) fn write_rule(out: &mut Writer, table: Named, key: &Key, rule: &Lowered) {
    write_rules_of(out, table, key);
    let list = out.open_nest(abi::rule::EXPRESSIONS);
    rule.expressions.iter().for_each(|expression| expression.write(out));
    out.close_attr(list);
    if let Some(comment) = &rule.comment {
        let start = out.open_attr(abi::rule::USERDATA);
        let len = u8::try_from(comment.len() + 1).expect("lower_one() bounds comments");
        out.bytes.extend([abi::rule::UDATA_COMMENT, len]);
        out.bytes.extend(comment.as_bytes());
        out.bytes.push(0);
        out.close_attr(start);
    }
}

/// The name in a key; a table's is the same for all.
pub(super) fn name(key: &Key) -> &str {
    match key {
        Key::Table(_) => TABLE,
        Key::Set(_, set) | Key::Element(_, set, _) => &set.0,
        Key::Chain(_, chain) => &chain.0,
    }
}

/// The family in a key.
pub(super) fn family(key: &Key) -> TableFamily {
    match key {
        Key::Table(family)
        | Key::Set(family, _)
        | Key::Chain(family, _)
        | Key::Element(family, ..) => *family,
    }
}

/// `enum nf_inet_hooks`.
pub(super) fn hook_number(point: HookPoint) -> u32 {
    match point {
        HookPoint::Prerouting => 0,
        HookPoint::Input => 1,
        HookPoint::Forward => 2,
        HookPoint::Output => 3,
        HookPoint::Postrouting => 4,
    }
}
