//! Numbers as the API writes them.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Zero is said by not saying it.
pub(crate) fn nonzero(number: i32) -> Option<i32> {
    (number != 0).then_some(number)
}

/// As many as there are, as far as the API can count.
pub(crate) fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Which way a part of a whole is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    /// To the next larger whole number.
    Up,
    /// To the next smaller one.
    Down,
}

/// `value` itself, or that many percent of `whole`; what is neither is zero, which validation refuses.
///
/// Source: Kubernetes, `GetScaledValueFromIntOrPercent`.
pub(crate) fn scaled(value: &IntOrString, whole: i32, round: Round) -> i32 {
    let text = match value {
        IntOrString::Int(number) => return *number,
        IntOrString::String(text) => text,
    };
    let percent = text.strip_suffix('%').and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    let hundredths = i64::from(whole) * percent;
    let number = match round {
        Round::Up => (hundredths + 99).div_euclid(100),
        Round::Down => hundredths.div_euclid(100),
    };
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A short name for `content`, and for how many other contents had the same name before it: a 32-bit
/// FNV-1a hash in letters that make no words.
///
/// Source: Kubernetes, `ComputeHash` and `SafeEncodeString`; the hashed text is our own.
pub(crate) fn hash_name(content: &[u8], collisions: i32) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut hash = 0x811c_9dc5_u32;
    let salt = if collisions > 0 { collisions.to_le_bytes().to_vec() } else { Vec::new() };
    for byte in content.iter().chain(&salt) {
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    hash.to_string()
        .bytes()
        .map(|digit| LETTERS[usize::from(digit) % LETTERS.len()] as char)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_rounded_the_way_that_is_asked_for() {
        let cases = [
            ("25%", 10, 3, 2),
            ("0%", 10, 0, 0),
            ("100%", 3, 3, 3),
            ("1%", 1, 1, 0),
            ("x", 9, 0, 0),
        ];
        for (text, whole, up, down) in cases {
            let value = IntOrString::String(text.to_owned());
            assert_eq!(
                (scaled(&value, whole, Round::Up), scaled(&value, whole, Round::Down)),
                (up, down)
            );
        }
        assert_eq!(scaled(&IntOrString::Int(7), 1, Round::Up), 7);
    }

    #[test]
    fn a_name_follows_from_content_and_collisions() {
        assert_eq!(hash_name(b"a", 0), hash_name(b"a", 0));
        assert_ne!(hash_name(b"a", 0), hash_name(b"b", 0));
        assert_ne!(hash_name(b"a", 0), hash_name(b"a", 1));
    }
}
