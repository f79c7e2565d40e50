//! What tells two objects of one name apart.

use std::fmt;
use std::sync::Arc;

/// `metadata.uid` of an object; empty where nobody has given one.
///
/// A UUID, as the API server gives them, takes no memory besides. Anything else is kept as it is
/// written, for nothing says that it must be one. Two are equal where their texts are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(Form);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
    /// Of a text that [`write_uuid`] gives back as it was.
    Uuid([u8; 16]),
    Other(Arc<str>),
}

/// How many digits stand between the dashes of a UUID (RFC 9562, section 4).
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

impl Uid {
    /// Whether nobody has given one.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Form::Other(text) if text.is_empty())
    }
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        Uid(match uuid(text) {
            Some(bytes) => Form::Uuid(bytes),
            None => Form::Other(text.into()),
        })
    }
}

impl PartialEq<str> for Uid {
    fn eq(&self, text: &str) -> bool {
        match &self.0 {
            Form::Uuid(bytes) => uuid(text).as_ref() == Some(bytes),
            Form::Other(own) => **own == *text,
        }
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Uuid(bytes) => write_uuid(bytes, f),
            Form::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// The bytes of a UUID in lower case, which is how one is written.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let groups = text.split('-').map(str::len);
    if !groups.eq(GROUPS) {
        return None;
    }
    let mut digits = text.bytes().filter(|byte| *byte != b'-').map(digit);
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        *byte = (digits.next()?? << 4) | digits.next()??;
    }
    Some(bytes)
}

fn write_uuid(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut rest = &bytes[..];
    for (n, digits) in GROUPS.into_iter().enumerate() {
        let (group, after) = rest.split_at(digits / 2);
        rest = after;
        f.write_str(if n > 0 { "-" } else { "" })?;
        group.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_its_text_and_a_uuid_is_sixteen_bytes() {
        let cases = [
            ("00112233-4455-6677-8899-aabbccddeeff", true),
            ("ffffffff-ffff-ffff-ffff-ffffffffffff", true),
            ("00112233-4455-6677-8899-AABBCCDDEEFF", false),
            ("00112233445566778899aabbccddeeff", false),
            ("0011223-34455-6677-8899-aabbccddeeff", false),
            ("00112233-4455-6677-8899-aabbccddeefg", false),
            ("00112233-4455-6677-8899-aabbccddeef-", false),
            ("00112233-4455-6677-8899-aabbccddeé0", false),
            ("00112233-4455-6677-8899-aabbccddeeff ", false),
            ("-00112233-4455-6677-8899-aabbccddeeff", false),
            ("+0112233-4455-6677-8899-aabbccddeeff", false),
            ("u", false),
            ("", false),
        ];
        for (text, is_uuid) in cases {
            let uid = Uid::from(text);
            assert_eq!(matches!(uid.0, Form::Uuid(_)), is_uuid, "{text}");
            assert_eq!(uid.to_string(), text);
            assert_eq!(uid.is_empty(), text.is_empty());
            for (other, _) in cases {
                assert_eq!(uid == *other, text == other, "{text} {other}");
                let read = Uid::from(other);
                assert_eq!(uid == read, text == other, "{text} {other}");
            }
        }
        assert_eq!(size_of::<Uid>(), 24);
    }
}
