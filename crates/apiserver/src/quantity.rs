//! Amounts of resources: `500m`, `1.5Gi`, `12e6`.
//!
//! Numbers of up to 36 digits are exact. Of what is smaller than a thousand-millionth, the least
//! amount there is remains, as in Kubernetes.
//!
//! Source: k8s.io/apimachinery `pkg/api/resource` (`quantity.go`, `amount.go`, `suffix.go`).
use std::cmp::Ordering;

/// An amount.
#[derive(Debug, Clone)]
pub(crate) struct Quantity {
    negative: bool,
    /// Of a size so that its last digit isn't zero; zero only as a whole.
    digits: u128,
    /// The power of ten that the digits are to be multiplied with; -9 or more.
    exponent: i64,
    form: Form,
    /// The text as it was given, where that is the canonical form too.
    verbatim: Option<String>,
}

/// How an amount is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// With suffixes for powers of 1024.
    Binary,
    /// With suffixes for powers of 1000.
    Decimal,
    /// As `12e6`.
    Exponent,
}

/// Why a text is no quantity, in Kubernetes' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error(
        "quantities must match the regular expression \
         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Form,
    #[error("unable to parse numeric part of quantity")]
    Number,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// The smallest power of ten that counts.
const NANO: i64 = -9;

/// The most digits that are read.
const LONGEST: usize = 36;

/// The largest amount that is written with powers of 1024.
const LARGEST_BINARY: u128 = i64::MAX as u128;

/// Suffixes of powers of ten.
const DECIMAL: [(&str, i64); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

/// Suffixes of powers of two.
const BINARY: [(&str, u32); 6] =
    [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// A quantity's text, in its parts.
struct Parts<'t> {
    negative: bool,
    /// Without zeros in front; not empty.
    whole: &'t str,
    fraction: &'t str,
    suffix: &'t str,
}

impl Quantity {
    /// Reads an amount.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub(crate) fn parse(text: &str) -> Result<Self, Unreadable> {
        let parts = split(text)?;
        let (form, power, shift) = interpret(parts.suffix).ok_or(Unreadable::Suffix)?;
        let all = format!("{}{}", parts.whole, parts.fraction);
        if all.trim_start_matches('0').len() > LONGEST {
            return Err(Unreadable::Number);
        }
        let digits: u128 = all.parse().map_err(|_| Unreadable::Number)?;
        let places = i64::try_from(parts.fraction.len()).map_err(|_| Unreadable::Number)?;
        let verbatim = is_canonical(&parts, &all, form, power, shift).then(|| text.to_owned());
        let mut quantity = Self {
            negative: parts.negative && digits != 0,
            digits,
            exponent: power - places,
            form,
            verbatim,
        };
        quantity.scale_up(shift);
        quantity.settle();
        Ok(quantity)
    }

    /// Multiplies with a power of two; of what has too many digits for that, the last go, rounded
    /// up. What is too much is the largest amount that there is.
    fn scale_up(&mut self, shift: u32) {
        while self.digits.checked_mul(1 << shift).is_none() {
            self.digits = self.digits.div_ceil(10);
            self.exponent += 1;
        }
        self.digits <<= shift;
    }

    /// Rounds up what is too small, caps what is too large, and drops zeros at the end.
    fn settle(&mut self) {
        while self.exponent < NANO && self.digits != 0 {
            self.digits = self.digits.div_ceil(10);
            self.exponent += 1;
            if self.digits == 1 {
                self.exponent = NANO;
            }
        }
        let most = Self { digits: LARGEST_BINARY, exponent: 0, ..self.clone() };
        if self.form == Form::Binary && self.magnitude(&most) == Ordering::Greater {
            (self.digits, self.exponent) = (most.digits, most.exponent);
        }
        while self.digits != 0 && self.digits.is_multiple_of(10) {
            self.digits /= 10;
            self.exponent += 1;
        }
        if self.digits == 0 {
            self.exponent = 0;
        }
    }

    pub(crate) fn is_negative(&self) -> bool {
        self.negative
    }

    /// Whether it is a number without a fraction.
    pub(crate) fn is_whole(&self) -> bool {
        self.exponent >= 0
    }

    /// The number, near enough for what has no need of all digits.
    pub(crate) fn approximate(&self) -> f64 {
        let text = format!("{}e{}", self.digits, self.exponent);
        let number: f64 = text.parse().unwrap_or(f64::INFINITY);
        if self.negative { -number } else { number }
    }

    /// The amount as Kubernetes writes it.
    pub(crate) fn canonical(&self) -> String {
        if let Some(text) = &self.verbatim {
            return text.clone();
        }
        let sign = if self.negative { "-" } else { "" };
        if self.digits == 0 {
            return "0".to_owned();
        }
        let kibi = Self { digits: 1024, exponent: 0, ..self.clone() };
        let is_binary = self.form == Form::Binary
            && self.magnitude(&kibi) != Ordering::Less
            && self.exponent >= 0;
        if is_binary {
            // No more than the largest amount, so there is an exact whole number.
            let mut number = self.digits * 10_u128.pow(u32::try_from(self.exponent).unwrap_or(0));
            let mut suffix = "";
            for (name, _) in BINARY {
                if !number.is_multiple_of(1024) {
                    break;
                }
                number /= 1024;
                suffix = name;
            }
            return format!("{sign}{number}{suffix}");
        }
        let mut power = self.exponent - self.exponent.rem_euclid(3);
        if self.form != Form::Exponent {
            power = power.min(18);
        }
        let zeros = usize::try_from(self.exponent - power).unwrap_or(0);
        let suffix = if self.form == Form::Exponent && power != 0 {
            format!("e{power}")
        } else {
            let named = DECIMAL.iter().find(|(_, of)| *of == power);
            named.map_or("", |(name, _)| name).to_owned()
        };
        format!("{sign}{}{}{suffix}", self.digits, "0".repeat(zeros))
    }

    /// Which of two is more, whatever their signs.
    fn magnitude(&self, other: &Self) -> Ordering {
        if self.digits == 0 || other.digits == 0 {
            return self.digits.cmp(&other.digits);
        }
        let length = |one: &Self| i64::from(one.digits.ilog10()) + one.exponent;
        length(self).cmp(&length(other)).then_with(|| {
            // Of equal length, so the exponents differ by no more than there are digits.
            let least = self.exponent.min(other.exponent);
            let aligned = |one: &Self| {
                let zeros = u32::try_from(one.exponent - least).unwrap_or(0);
                10_u128.checked_pow(zeros).and_then(|factor| one.digits.checked_mul(factor))
            };
            aligned(self).cmp(&aligned(other))
        })
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.magnitude(other),
            (true, true) => other.magnitude(self),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

/// The parts of a text: sign, digits, suffix.
fn split(text: &str) -> Result<Parts<'_>, Unreadable> {
    if text.is_empty() {
        return Err(Unreadable::Form);
    }
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = rest.trim_start_matches('0');
    let (whole, rest) = rest.split_at(digits(rest));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let letters = suffix.trim_start_matches(|letter| "eEinumkKMGTP".contains(letter));
    let number = letters.strip_prefix(['+', '-']).unwrap_or(letters);
    if digits(number) != number.len() {
        return Err(Unreadable::Form);
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    Ok(Parts { negative: text.starts_with('-'), whole, fraction, suffix })
}

/// The form that a suffix belongs to, and its powers of ten and of two.
fn interpret(suffix: &str) -> Option<(Form, i64, u32)> {
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((Form::Decimal, *power, 0));
    }
    if let Some((_, shift)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Some((Form::Binary, 0, *shift));
    }
    let power = suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?;
    Some((Form::Exponent, i64::from(power), 0))
}

/// Whether Kubernetes leaves a text as it is: where its quick way of reading finds a number that
/// can't be written shorter.
fn is_canonical(parts: &Parts<'_>, all: &str, form: Form, power: i64, shift: u32) -> bool {
    let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
    if form == Form::Binary {
        let room = 15 - length(parts.whole) - i64::from(shift) * 3 / 10 - 1;
        let number = all.parse::<u64>().unwrap_or(0);
        return parts.fraction.is_empty() && room >= 0 && !number.is_multiple_of(8);
    }
    let power = power - length(parts.fraction);
    length(all) <= 18
        && power >= NANO
        && power % 3 == 0
        && !all.ends_with("000")
        && !all.starts_with('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_kubernetes_does() {
        let cases = "
            0 0 | 1 1 | 0.5 500m | 1.5 1500m | 100m 100m | 1000m 1 | 2000m 2 | 1000 1k | 1500 1500
            1500000 1500k | 1024Ki 1Mi | 1Gi 1Gi | 1.5Gi 1536Mi | 0.5Gi 512Mi | 0.5Mi 512Ki
            0.5Ki 512 | 1e3 1e3 | 1e1 10 | 12e6 12e6 | 1E3 1E3 | 1E 1E | 1000E 1000E | 100e2 10e3
            -1 -1 | -0.5 -500m | -0 0 | 0.0 0 | .5 500m | 1. 1. | 1.G 1.G | 1n 1n | 0.1n 1n | 1e-20 1e-9
            0.0000000001 1n | 123456789.123456 123456789.123456 | 1234.5678 1234567800u | 8Ki 8Ki | 16Ei 9223372036854775807
            1.1Ki 1126400m | 2047.5Ki 2096640 | 1e18 1e18 | 1e400 10e399 | 1.500 1.500 | 0.010Ki 10240m";
        for case in cases.split(['|', '\n']).map(str::trim).filter(|case| !case.is_empty()) {
            let (text, canonical) = case.split_once(' ').unwrap();
            let read = Quantity::parse(text).map(|quantity| quantity.canonical());
            assert_eq!(read, Ok(canonical.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused_in_kubernetes_words() {
        use Unreadable::{Form, Number, Suffix};
        let long = "1".repeat(37);
        let cases = [
            ("", Form),
            ("x", Form),
            ("1x", Form),
            ("1 Gi", Form),
            ("1.2.3", Form),
            ("1Gib", Form),
            ("\u{e9}", Form),
            ("1e", Suffix),
            ("1ki", Suffix),
            ("1Zi", Form),
            ("1K", Suffix),
            ("1mm", Suffix),
            ("1e99999999999", Suffix),
            ("+-1", Suffix),
            (&long, Number),
        ];
        for (text, why) in cases {
            assert_eq!(Quantity::parse(text).unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn amounts_are_compared_across_units_to_the_last_digit() {
        let cases = "100m < 1 | 1Gi < 1100M | 0.5 < 501m | 1e3 < 1001 | 64Mi < 65Mi | -1 < 0
            | -2 < -1 | 9007199254740992 < 9007199254740993 | 1E < 1Ei | 1e30 < 1e31 | 0 < 1n";
        for case in cases.split('|') {
            let (less, more) = case.trim().split_once(" < ").unwrap();
            let read = |text: &str| Quantity::parse(text).unwrap();
            assert!(read(less) < read(more), "{case}");
            assert!(read(more) > read(less), "{case}");
        }
        assert_eq!(Quantity::parse("1Ki"), Quantity::parse("1024"));
        assert_eq!(Quantity::parse("0.1"), Quantity::parse("100m"));
    }
}
