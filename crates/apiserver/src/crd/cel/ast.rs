//! What expressions consist of.

/// An expression and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expr {
    pub(super) at: usize,
    pub(super) node: Node,
    /// How deep the expressions inside are nested.
    pub(super) depth: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
    Name(String),
    /// `of.field`, or `of.?field`, which is optional.
    Select {
        of: Box<Expr>,
        field: String,
        optional: bool,
    },
    /// `has(of.field)`.
    Has {
        of: Box<Expr>,
        field: String,
    },
    /// `of[at]`, or `of[?at]`, which is optional.
    Index {
        of: Box<Expr>,
        at: Box<Expr>,
        optional: bool,
    },
    /// `name(args)` or `target.name(args)`.
    Call {
        name: String,
        target: Option<Box<Expr>>,
        args: Vec<Expr>,
    },
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Binary {
        sign: &'static str,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Choice {
        test: Box<Expr>,
        yes: Box<Expr>,
        no: Box<Expr>,
    },
    /// `over.all(name, body)` and its like; `over.map(name, test, body)` has a test.
    Each {
        how: Each,
        over: Box<Expr>,
        name: String,
        test: Option<Box<Expr>>,
        body: Box<Expr>,
    },
}

/// What is done with each item of a list or key of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Each {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
    /// `optional.optMap(name, body)`: of the value, if there is one.
    OptMap,
    /// As `OptMap`, of a body that is optional itself.
    OptFlatMap,
}

impl Each {
    /// What the macro `name` does.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "all" => Self::All,
            "exists" => Self::Exists,
            "exists_one" | "existsOne" => Self::ExistsOne,
            "filter" => Self::Filter,
            "map" => Self::Map,
            "optMap" => Self::OptMap,
            "optFlatMap" => Self::OptFlatMap,
            _ => return None,
        })
    }
}

impl Node {
    /// The expressions directly inside.
    pub(super) fn parts(&self) -> Vec<&Expr> {
        match self {
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Uint(_)
            | Self::Double(_)
            | Self::String(_)
            | Self::Bytes(_)
            | Self::Name(_) => Vec::new(),
            Self::Select { of, .. } | Self::Has { of, .. } => vec![of],
            Self::Index { of, at, .. } => vec![of, at],
            Self::Call { target, args, .. } => target.as_deref().into_iter().chain(args).collect(),
            Self::List(items) | Self::All(items) | Self::Any(items) => items.iter().collect(),
            Self::Map(entries) => entries.iter().flat_map(|(key, value)| [key, value]).collect(),
            Self::Not(inner) | Self::Negate(inner) => vec![inner],
            Self::Binary { left, right, .. } => vec![left, right],
            Self::Choice { test, yes, no } => vec![test, yes, no],
            Self::Each { over, test, body, .. } => [Some(over), test.as_ref(), Some(body)]
                .into_iter()
                .flatten()
                .map(AsRef::as_ref)
                .collect(),
        }
    }

    /// Whether a variable called `name` is used anywhere in it.
    pub(super) fn mentions(&self, name: &str) -> bool {
        matches!(self, Self::Name(own) if own == name)
            || self.parts().into_iter().any(|part| part.node.mentions(name))
    }
}
