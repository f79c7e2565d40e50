//! What can be wrong with a cable: it is pulled out, or it loses and delays what goes through it.

mod relay;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use relay::Relay;

/// Longest delay of a cable.
pub const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// How many of a million frames are lost, each by chance alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss(u32);

/// What a cable does to each frame, in each direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impairment {
    /// Frames that are lost.
    pub loss: Loss,
    /// How long the others take. Their order stays.
    pub delay: Duration,
}

/// What is wrong with a cable; nothing by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// It is pulled out: both ends see no carrier.
    pub cut: bool,
    /// It loses or delays.
    pub impairment: Option<Impairment>,
}

/// A cable as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CableState {
    /// Its name.
    pub name: String,
    /// What it joins, like `node-1 eth0` and `switch node1`.
    pub ends: [String; 2],
    /// What is wrong with it.
    pub fault: Fault,
}

/// A share that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no share: a number from 0% to 100%, like 10% or 0.5%")]
pub struct InvalidLoss(String);

impl Loss {
    /// Whether a frame is lost for which chance has drawn `number`, any 32 bits.
    fn takes(self, number: u32) -> bool {
        u64::from(number) * 1_000_000 < u64::from(self.0) << 32
    }
}

impl FromStr for Loss {
    type Err = InvalidLoss;

    fn from_str(text: &str) -> Result<Self, InvalidLoss> {
        let invalid = || InvalidLoss(text.to_owned());
        let number = text.trim_end_matches('%');
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 4 || whole.is_empty() {
            return Err(invalid());
        }
        let millionths = format!("{whole}{part:0<4}").parse::<u32>().map_err(|_| invalid())?;
        if millionths <= 1_000_000 { Ok(Loss(millionths)) } else { Err(invalid()) }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 10_000, format!("{:04}", self.0 % 10_000));
        match part.trim_end_matches('0') {
            "" => write!(f, "{whole}%"),
            part => write!(f, "{whole}.{part}%"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.cut.then(|| "cut".to_owned()));
        if let Some(Impairment { loss, delay }) = self.impairment {
            words.push(format!("loses {loss}, delays {delay:?}"));
        }
        f.write_str(&if words.is_empty() { "whole".to_owned() } else { words.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_number_of_percent() {
        let cases = [
            ("0", Some("0%")),
            ("10", Some("10%")),
            ("10%", Some("10%")),
            ("0.5%", Some("0.5%")),
            ("0.0001", Some("0.0001%")),
            ("100%", Some("100%")),
            ("100.1%", None),
            ("0.00001", None),
            ("-1", None),
            ("", None),
            (".5", None),
            ("half", None),
            ("99999999999", None),
        ];
        for (text, expect) in cases {
            let read = text.parse::<Loss>().map(|loss| loss.to_string()).ok();
            assert_eq!(read.as_deref(), expect, "{text}");
        }
    }

    #[test]
    fn chance_takes_its_share_and_all_or_nothing_at_the_ends() {
        let loss = |text: &str| text.parse::<Loss>().unwrap();
        for number in [0, 1, u32::MAX / 2, u32::MAX] {
            assert!(!loss("0").takes(number), "{number}");
            assert!(loss("100").takes(number), "{number}");
        }
        let tenth = (0..1000u32).filter(|n| loss("10").takes(n * (u32::MAX / 1000))).count();
        assert_eq!(tenth, 101);
    }
}
