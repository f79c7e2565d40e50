//! Expressions, read from their tokens.
//!
//! Source: github.com/google/cel-spec `doc/langdef.md`, "Syntax" and "Macros".
use super::ast::{Each, Expr, Node};
use super::lex::{self, Kind, Problem, Token};

/// How deep an expression may be nested: what walks it may recurse.
const DEEPEST: u32 = 100;
/// How many letters an expression may have.
const LONGEST: usize = 100_000;

/// Names before a dot that are part of a function's name.
const NAMESPACES: [&str; 4] = ["format", "optional", "sets", "strings"];

/// Words that can't be names.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
];

/// Reads an expression.
///
/// # Errors
/// The first problem.
pub(super) fn parse(text: &str) -> Result<Expr, Problem> {
    if text.chars().count() > LONGEST {
        return Err((0, format!("expression code point size exceeds limit: {LONGEST}")));
    }
    let tokens = lex::tokens(text)?;
    let mut parser = Parser { tokens, next: 0, depth: 0 };
    let expr = parser.choice()?;
    match parser.peek() {
        Kind::End => Ok(expr),
        other => Err(parser.unexpected(&other.clone())),
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    /// How many expressions are being read inside each other.
    depth: u32,
}

type Read = Result<Expr, Problem>;

impl Parser {
    fn token(&self) -> &Token {
        // The last token is the end, which nothing takes.
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn peek(&self) -> &Kind {
        &self.token().kind
    }

    fn at(&self) -> usize {
        self.token().at
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Kind::Sign(next) if *next == sign);
        self.next += usize::from(found);
        found
    }

    fn any(&mut self, signs: &[&'static str]) -> Option<&'static str> {
        signs.iter().copied().find(|sign| self.take(sign))
    }

    fn expect(&mut self, sign: &str) -> Result<(), Problem> {
        if self.take(sign) { Ok(()) } else { Err(self.unexpected(&self.peek().clone())) }
    }

    fn unexpected(&self, kind: &Kind) -> Problem {
        let what = match kind {
            Kind::End => "<EOF>".to_owned(),
            Kind::Sign(sign) => (*sign).to_owned(),
            Kind::Name(name) => name.clone(),
            Kind::Int(number) => number.to_string(),
            Kind::Uint(number) => format!("{number}u"),
            Kind::Double(number) => number.to_string(),
            Kind::String(text) => format!("{text:?}"),
            Kind::Bytes(_) => "bytes".to_owned(),
        };
        (self.at(), format!("Syntax error: mismatched input '{what}'"))
    }

    fn node(at: usize, node: Node) -> Read {
        let depth = 1 + node.parts().into_iter().map(|part| part.depth).max().unwrap_or(0);
        if depth > DEEPEST {
            return Err((at, format!("expression recursion limit exceeded: {DEEPEST}")));
        }
        Ok(Expr { at, node, depth })
    }

    /// Reads what may contain anything again.
    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Read) -> Read {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err((self.at(), format!("expression recursion limit exceeded: {DEEPEST}")));
        }
        let expr = read(self)?;
        self.depth -= 1;
        Ok(expr)
    }

    fn choice(&mut self) -> Read {
        self.nested(|parser| {
            let test = parser.or()?;
            let at = parser.at();
            if !parser.take("?") {
                return Ok(test);
            }
            let yes = parser.or()?;
            parser.expect(":")?;
            let no = parser.choice()?;
            let (test, yes, no) = (Box::new(test), Box::new(yes), Box::new(no));
            Self::node(at, Node::Choice { test, yes, no })
        })
    }

    fn or(&mut self) -> Read {
        self.chain("||", Self::and, Node::Any)
    }

    fn and(&mut self) -> Read {
        self.chain("&&", Self::relation, Node::All)
    }

    /// Parts with `sign` between them, side by side.
    fn chain(
        &mut self,
        sign: &str,
        part: fn(&mut Self) -> Read,
        node: fn(Vec<Expr>) -> Node,
    ) -> Read {
        let first = part(self)?;
        let at = self.at();
        let mut parts = vec![first];
        while self.take(sign) {
            parts.push(part(self)?);
        }
        match parts.len() {
            1 => Ok(parts.remove(0)),
            _ => Self::node(at, node(parts)),
        }
    }

    fn relation(&mut self) -> Read {
        let mut left = self.sum()?;
        loop {
            let at = self.at();
            let sign = match self.any(&["==", "!=", "<=", ">=", "<", ">"]) {
                Some(sign) => sign,
                None if *self.peek() == Kind::Name("in".to_owned()) => {
                    self.next += 1;
                    "in"
                }
                None => return Ok(left),
            };
            let right = Box::new(self.sum()?);
            left = Self::node(at, Node::Binary { sign, left: Box::new(left), right })?;
        }
    }

    fn sum(&mut self) -> Read {
        self.left_to_right(&["+", "-"], Self::product)
    }

    fn product(&mut self) -> Read {
        self.left_to_right(&["*", "/", "%"], Self::unary)
    }

    fn left_to_right(&mut self, signs: &[&'static str], part: fn(&mut Self) -> Read) -> Read {
        let mut left = part(self)?;
        loop {
            let at = self.at();
            let Some(sign) = self.any(signs) else { return Ok(left) };
            let right = Box::new(part(self)?);
            left = Self::node(at, Node::Binary { sign, left: Box::new(left), right })?;
        }
    }

    fn unary(&mut self) -> Read {
        let at = self.at();
        if self.take("!") {
            let inner = self.nested(Self::unary)?;
            return Self::node(at, Node::Not(Box::new(inner)));
        }
        if self.take("-") {
            let inner = self.nested(Self::unary)?;
            return match inner.node {
                Node::Int(number) => Self::node(at, Node::Int(-number)),
                Node::Double(number) => Self::node(at, Node::Double(-number)),
                _ => Self::node(at, Node::Negate(Box::new(inner))),
            };
        }
        self.member()
    }

    fn member(&mut self) -> Read {
        let mut expr = self.primary()?;
        loop {
            let at = self.at();
            if let Some(sign) = self.any(&[".?", "."]) {
                let field = self.name()?;
                expr = if sign == "." && self.take("(") {
                    let args = self.arguments(")")?;
                    call(at, field, Some(expr), args)?
                } else {
                    let optional = sign == ".?";
                    Self::node(at, Node::Select { of: Box::new(expr), field, optional })?
                };
            } else if let Some(sign) = self.any(&["[?", "["]) {
                let inner = Box::new(self.choice()?);
                self.expect("]")?;
                let optional = sign == "[?";
                expr = Self::node(at, Node::Index { of: Box::new(expr), at: inner, optional })?;
            } else {
                return Ok(expr);
            }
        }
    }

    fn name(&mut self) -> Result<String, Problem> {
        match self.peek().clone() {
            Kind::Name(name) if name != "in" => {
                self.next += 1;
                Ok(name)
            }
            other => Err(self.unexpected(&other)),
        }
    }

    fn primary(&mut self) -> Read {
        let at = self.at();
        if self.take("(") {
            let inner = self.choice()?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.take("[") {
            let items = self.arguments("]")?;
            return Self::node(at, Node::List(items));
        }
        if self.take("{") {
            return self.map(at);
        }
        // A name may be written as one of the outermost scope.
        self.take(".");
        let node = match self.peek().clone() {
            Kind::Int(number) => Node::Int(number),
            Kind::Uint(number) => Node::Uint(number),
            Kind::Double(number) => Node::Double(number),
            Kind::String(text) => Node::String(text),
            Kind::Bytes(bytes) => Node::Bytes(bytes),
            Kind::Name(name) => {
                self.next += 1;
                if self.take("(") {
                    let args = self.arguments(")")?;
                    return call(at, name, None, args);
                }
                return match name.as_str() {
                    "true" => Self::node(at, Node::Bool(true)),
                    "false" => Self::node(at, Node::Bool(false)),
                    "null" => Self::node(at, Node::Null),
                    word if RESERVED.contains(&word) => {
                        Err((at, format!("Syntax error: reserved identifier: {word}")))
                    }
                    _ => Self::node(at, Node::Name(name)),
                };
            }
            other @ (Kind::Sign(_) | Kind::End) => return Err(self.unexpected(&other)),
        };
        self.next += 1;
        Self::node(at, node)
    }

    /// Expressions with commas, up to `end`.
    fn arguments(&mut self, end: &str) -> Result<Vec<Expr>, Problem> {
        let mut items = Vec::new();
        while !self.take(end) {
            items.push(self.choice()?);
            if !self.take(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(items)
    }

    fn map(&mut self, at: usize) -> Read {
        let mut entries = Vec::new();
        while !self.take("}") {
            let key = self.choice()?;
            self.expect(":")?;
            entries.push((key, self.choice()?));
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Self::node(at, Node::Map(entries))
    }
}

/// A call, or the macro that it stands for.
fn call(at: usize, name: String, target: Option<Expr>, mut args: Vec<Expr>) -> Read {
    let Some(target) = target else {
        if name == "has" {
            return match (args.len(), args.pop().map(|arg| arg.node)) {
                (1, Some(Node::Select { of, field, optional: false })) => {
                    Parser::node(at, Node::Has { of, field })
                }
                _ => Err((at, "invalid argument to has() macro".to_owned())),
            };
        }
        return Parser::node(at, Node::Call { name, target: None, args });
    };
    if let Node::Name(space) = &target.node
        && (NAMESPACES.contains(&space.as_str()) || (space == "ip" && name == "isCanonical"))
    {
        let name = format!("{space}.{name}");
        return Parser::node(at, Node::Call { name, target: None, args });
    }
    let is_name = |arg: Option<&Expr>| matches!(arg.map(|arg| &arg.node), Some(Node::Name(_)));
    let wanted = |how| if how == Each::Map { 2..=3 } else { 2..=2 };
    if let Some(how) = Each::named(&name).filter(|how| wanted(*how).contains(&args.len())) {
        if !is_name(args.first()) {
            return Err((at, "argument must be a simple name".to_owned()));
        }
        let body = args.pop().map(Box::new);
        let test = if args.len() == 2 { args.pop().map(Box::new) } else { None };
        let variable = args.pop().map(|arg| arg.node);
        if let (Some(Node::Name(name)), Some(body)) = (variable, body) {
            return Parser::node(at, Node::Each { how, over: Box::new(target), name, test, body });
        }
    }
    Parser::node(at, Node::Call { name, target: Some(Box::new(target)), args })
}
