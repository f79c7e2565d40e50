//! Tokens of the Common Expression Language.
//!
//! Source: github.com/google/cel-spec `doc/langdef.md`, "Syntax".

/// One token and where it starts, in letters.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Name(String),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
    /// An operator or other sign.
    Sign(&'static str),
    End,
}

/// The signs, those first that begin with another.
const SIGNS: [&str; 25] = [
    "&&", "||", "==", "!=", "<=", ">=", "[?", ".?", "<", ">", "+", "-", "*", "/", "%", "!", "?",
    ":", ".", ",", "(", ")", "[", "]", "{",
];

/// A sentence about the letter at a place.
pub(super) type Problem = (usize, String);

/// Reads the tokens of `text`.
///
/// # Errors
/// The first problem.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Problem> {
    let letters: Vec<char> = text.chars().collect();
    let mut reader = Reader { letters: &letters, at: 0 };
    let mut tokens = Vec::new();
    loop {
        reader.skip();
        let at = reader.at;
        let kind = reader.token()?;
        let end = kind == Kind::End;
        tokens.push(Token { at, kind });
        if end {
            return Ok(tokens);
        }
    }
}

struct Reader<'t> {
    letters: &'t [char],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.letters.get(self.at + ahead).copied()
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(n, letter)| self.peek(n) == Some(letter))
    }

    /// Passes white space and comments.
    fn skip(&mut self) {
        while let Some(letter) = self.peek(0) {
            if letter.is_whitespace() {
                self.at += 1;
            } else if self.starts_with("//") {
                while self.peek(0).is_some_and(|letter| letter != '\n') {
                    self.at += 1;
                }
            } else {
                return;
            }
        }
    }

    fn token(&mut self) -> Result<Kind, Problem> {
        let Some(letter) = self.peek(0) else { return Ok(Kind::End) };
        if letter.is_ascii_digit()
            || (letter == '.' && self.peek(1).is_some_and(|next| next.is_ascii_digit()))
        {
            return self.number();
        }
        if let Some(text) = self.text()? {
            return Ok(text);
        }
        if letter.is_ascii_alphabetic() || letter == '_' {
            let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            return Ok(Kind::Name(self.take(is_part)));
        }
        if letter == '}' {
            self.at += 1;
            return Ok(Kind::Sign("}"));
        }
        let sign = SIGNS.into_iter().find(|sign| self.starts_with(sign));
        let Some(sign) = sign else {
            return Err((self.at, format!("Syntax error: token recognition error at: '{letter}'")));
        };
        self.at += sign.len();
        Ok(Kind::Sign(sign))
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let rest = &self.letters[self.at..];
        let taken: String = rest.iter().copied().take_while(|letter| wanted(*letter)).collect();
        self.at += taken.chars().count();
        taken
    }

    fn number(&mut self) -> Result<Kind, Problem> {
        let start = self.at;
        let wrong = |text: &str| (start, format!("invalid number {text}"));
        if self.starts_with("0x") || self.starts_with("0X") {
            self.at += 2;
            let digits = self.take(|letter| letter.is_ascii_hexdigit());
            let number = u64::from_str_radix(&digits, 16).map_err(|_| wrong(&digits))?;
            return self.whole(number, start);
        }
        let mut text = self.take(|letter| letter.is_ascii_digit());
        let mut fraction = false;
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|next| next.is_ascii_digit()) {
            self.at += 1;
            text.push('.');
            text.push_str(&self.take(|letter| letter.is_ascii_digit()));
            fraction = true;
        }
        let signed = matches!(self.peek(1), Some('+' | '-')) as usize;
        if matches!(self.peek(0), Some('e' | 'E'))
            && self.peek(1 + signed).is_some_and(|next| next.is_ascii_digit())
        {
            text.extend(self.letters[self.at..=self.at + signed].iter());
            self.at += 1 + signed;
            text.push_str(&self.take(|letter| letter.is_ascii_digit()));
            fraction = true;
        }
        if fraction {
            return text.parse().map(Kind::Double).map_err(|_| wrong(&text));
        }
        let number = text.parse().map_err(|_| wrong(&text))?;
        self.whole(number, start)
    }

    /// A whole number: unsigned with a `u` behind it. The least integer is read with its sign.
    fn whole(&mut self, number: u64, start: usize) -> Result<Kind, Problem> {
        if matches!(self.peek(0), Some('u' | 'U')) {
            self.at += 1;
            return Ok(Kind::Uint(number));
        }
        let number =
            i64::try_from(number).map_err(|_| (start, "invalid int literal".to_owned()))?;
        Ok(Kind::Int(number))
    }

    /// A text or bytes, if the next letters begin one.
    fn text(&mut self) -> Result<Option<Kind>, Problem> {
        let mut ahead = 0;
        let (mut raw, mut bytes) = (false, false);
        while let Some(letter) = self.peek(ahead) {
            match letter {
                'r' | 'R' if !raw => raw = true,
                'b' | 'B' if !bytes => bytes = true,
                '"' | '\'' => break,
                _ => return Ok(None),
            }
            ahead += 1;
        }
        let Some(quote) = self.peek(ahead) else { return Ok(None) };
        let start = self.at;
        self.at += ahead;
        let triple: String = [quote; 3].iter().collect();
        let end = if self.starts_with(&triple) { triple } else { quote.to_string() };
        self.at += end.len();
        let mut out: Vec<u8> = Vec::new();
        loop {
            let Some(letter) = self.peek(0) else {
                return Err((start, "Syntax error: unterminated string".to_owned()));
            };
            if self.starts_with(&end) {
                self.at += end.len();
                break;
            }
            if end.len() == 1 && (letter == '\n' || letter == '\r') {
                return Err((start, "Syntax error: unterminated string".to_owned()));
            }
            self.at += 1;
            if letter == '\\' && !raw {
                self.escape(bytes, &mut out)?;
            } else {
                out.extend(letter.encode_utf8(&mut [0; 4]).bytes());
            }
        }
        if bytes {
            return Ok(Some(Kind::Bytes(out)));
        }
        Ok(Some(Kind::String(String::from_utf8_lossy(&out).into_owned())))
    }

    fn escape(&mut self, bytes: bool, out: &mut Vec<u8>) -> Result<(), Problem> {
        let at = self.at;
        let wrong = || (at, "Syntax error: invalid escape sequence".to_owned());
        let letter = self.peek(0).ok_or_else(wrong)?;
        self.at += 1;
        let plain = match letter {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '\'' | '"' | '`' | '?' => u8::try_from(letter).map_err(|_| wrong())?,
            _ => 0,
        };
        if plain != 0 {
            out.push(plain);
            return Ok(());
        }
        let (radix, count) = match letter {
            'x' | 'X' => (16, 2),
            'u' => (16, 4),
            'U' => (16, 8),
            '0'..='3' => {
                self.at -= 1;
                (8, 3)
            }
            _ => return Err(wrong()),
        };
        let digits: String = self.letters.iter().skip(self.at).take(count).collect();
        let number = u32::from_str_radix(&digits, radix).map_err(|_| wrong())?;
        if digits.len() < count {
            return Err(wrong());
        }
        self.at += count;
        if bytes && count < 4 {
            out.push(u8::try_from(number).map_err(|_| wrong())?);
        } else {
            let letter = char::from_u32(number).ok_or_else(wrong)?;
            out.extend(letter.encode_utf8(&mut [0; 4]).bytes());
        }
        Ok(())
    }
}
