//! What the plugin process and the agent say to each other over the agent's socket.
//!
//! A call is the plugin's own input, untouched: the protocol's variables as in
//! `/proc/PID/environ`, an empty string, then stdin. So there is one parser, [`super::parse`], and
//! a plugin and an agent of different releases understand each other. The same bytes are what a
//! DEL leaves on disk while the agent is down.
//!
//! On the socket, call and reply each follow their length as 32 bits, big endian. The first bytes
//! of a call carry the container's network namespace as a file descriptor (`SCM_RIGHTS`), if any.

use super::Environment;

/// The bytes of a call, without their length.
pub fn encode_call(environment: &Environment, stdin: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(stdin.len() + 512);
    for (name, value) in environment.clone().fields_mut() {
        // A NUL would end the variable early; no process can have one in its environment.
        if !value.is_empty() && !value.contains('\0') {
            bytes.extend_from_slice(format!("{name}={value}\0").as_bytes());
        }
    }
    bytes.push(0);
    bytes.extend_from_slice(stdin);
    bytes
}

/// Reads the bytes of a call; variables with other names are skipped.
///
/// # Errors
/// When there is no end of the environment, or it is not text.
pub fn decode_call(mut bytes: &[u8]) -> Result<(Environment, &[u8]), InvalidMessage> {
    let mut environment = Environment::default();
    loop {
        let end = bytes.iter().position(|b| *b == 0);
        let end = end.ok_or(InvalidMessage("ends within the environment"))?;
        let (variable, rest) = (&bytes[..end], &bytes[end + 1..]);
        bytes = rest;
        if variable.is_empty() {
            return Ok((environment, bytes));
        }
        let text = std::str::from_utf8(variable).map_err(|_| InvalidMessage("is not UTF-8"))?;
        let (name, value) = text.split_once('=').ok_or(InvalidMessage("has no '='"))?;
        for (known, field) in environment.fields_mut() {
            if known == name {
                value.clone_into(field);
            }
        }
    }
}

/// The agent's reply: what the plugin prints and whether it exits with success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Whether the operation succeeded.
    pub success: bool,
    /// JSON for stdout; empty where the specification wants no output.
    pub stdout: String,
}

impl Reply {
    /// The bytes of the reply, without their length.
    pub fn encode(&self) -> Vec<u8> {
        let mark = if self.success { b'+' } else { b'-' };
        [&[mark], self.stdout.as_bytes()].concat()
    }

    /// Reads the bytes of a reply.
    ///
    /// # Errors
    /// When it does not start with `+` or `-`, or is not UTF-8.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidMessage> {
        let (success, text) = match bytes {
            [b'+', text @ ..] => (true, text),
            [b'-', text @ ..] => (false, text),
            _ => return Err(InvalidMessage("has no mark")),
        };
        let stdout = std::str::from_utf8(text).map_err(|_| InvalidMessage("is not UTF-8"))?;
        Ok(Reply { success, stdout: stdout.to_owned() })
    }
}

/// Bytes that are not a message of this protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("message {0}")]
pub struct InvalidMessage(&'static str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_an_environ_and_stdin() {
        let environment = Environment {
            command: "DEL".into(),
            container_id: "c".into(),
            ifname: "eth0".into(),
            ..Environment::default()
        };
        let bytes = encode_call(&environment, b"{\"name\":\"n\"}");
        assert_eq!(
            bytes,
            b"CNI_COMMAND=DEL\0CNI_CONTAINERID=c\0CNI_IFNAME=eth0\0\0{\"name\":\"n\"}"
        );
        assert_eq!(decode_call(&bytes), Ok((environment, &b"{\"name\":\"n\"}"[..])));
    }

    #[test]
    fn a_call_cut_short_is_refused() {
        let bytes = encode_call(&Environment { command: "ADD".into(), ..Default::default() }, b"");
        for end in 0..bytes.len() {
            assert!(decode_call(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn a_reply_survives_the_socket() {
        for (success, stdout) in [(true, ""), (true, "{}"), (false, "{\"code\":11}")] {
            let reply = Reply { success, stdout: stdout.into() };
            assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
        }
        assert!(Reply::decode(b"").is_err());
        assert!(Reply::decode(b"?{}").is_err());
    }
}
