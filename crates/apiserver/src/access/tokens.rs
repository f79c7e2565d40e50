//! Bearer tokens: secrets for the administrator and for nodes, signed tokens for service accounts.
//!
//! Source: RFC 7515, 7518 §3.4, 7519.
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use rustls::SignatureScheme;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

use super::{MASTERS, User};
use crate::credentials::Error;
use crate::keys::Keys;
use crate::time;

/// The size of half a signature, in bytes.
const HALF: usize = 32;

/// The tokens that have been given out, and the key that signs others.
#[derive(Debug)]
pub(crate) struct Tokens {
    admin: String,
    users: RwLock<HashMap<String, User>>,
    signer: Arc<dyn rustls::sign::SigningKey>,
    /// The point that the public key is: 4, x and y.
    public: Vec<u8>,
    key_id: String,
}

impl Tokens {
    /// One token, the administrator's, and a key: those that `keys` keep.
    ///
    /// # Errors
    /// No key could be made or kept.
    pub(crate) fn new(keys: &Keys) -> Result<Self, Error> {
        let admin = keys.keep("admin.token", || Ok::<_, Error>(time::secret()))?;
        let user = User::new("kubernetes-admin", &[MASTERS]);
        let users = RwLock::new(HashMap::from([(admin.clone(), user)]));
        let key =
            keys.keep("token.key", || Ok::<_, Error>(KeyPair::generate()?.serialize_pem()))?;
        let key = KeyPair::from_pem(&key)?;
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signer = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&secret)?;
        let public = key.public_key_raw().to_vec();
        // The key names itself, so that tokens name it after a restart too.
        let key_id = URL_SAFE_NO_PAD.encode(public.get(1..=HALF).unwrap_or_default());
        Ok(Self { admin, users, signer, public, key_id })
    }

    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }

    /// A new token for the agent of `node`.
    pub(crate) fn issue_node(&self, node: &str) -> String {
        let token = time::secret();
        let user = User::new(&format!("system:node:{node}"), &["system:nodes"]);
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        users.insert(token.clone(), user);
        token
    }

    /// Whom the secret `token` stands for. Secrets have 256 random bits: a lookup's timing tells
    /// nothing that helps to guess one.
    pub(crate) fn user(&self, token: &str) -> Option<User> {
        self.users.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    /// A token that says `claims`, signed with ES256.
    ///
    /// # Errors
    /// The key can't sign.
    pub(crate) fn sign(&self, claims: &Value) -> Result<String, Error> {
        let broken = || rustls::Error::General("the key of tokens does not sign".to_owned());
        let head = json!({"alg": "ES256", "kid": self.key_id});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&head), part(claims));
        let signer = self.signer.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]);
        let signature = signer.ok_or_else(broken)?.sign(message.as_bytes())?;
        let signature = halves(&signature).ok_or_else(broken)?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// What a token says that was signed here; nothing, if it was not.
    pub(crate) fn claims(&self, token: &str) -> Option<Value> {
        let (message, signature) = token.rsplit_once('.')?;
        let signature = sequence(&URL_SAFE_NO_PAD.decode(signature).ok()?)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let known = provider.signature_verification_algorithms.mapping;
        let es256 = SignatureScheme::ECDSA_NISTP256_SHA256;
        let (_, checks) = known.iter().find(|(scheme, _)| *scheme == es256)?;
        let good = checks.iter().any(|check| {
            check.verify_signature(&self.public, message.as_bytes(), &signature).is_ok()
        });
        let claims = URL_SAFE_NO_PAD.decode(message.split_once('.')?.1).ok()?;
        serde_json::from_slice(&claims).ok().filter(|_| good)
    }

    /// The public key as `/openid/v1/jwks` has it.
    pub(crate) fn key_set(&self) -> Value {
        let halves = self.public.get(1..).unwrap_or_default().split_at(HALF);
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(halves.0), "y": URL_SAFE_NO_PAD.encode(halves.1),
        }]})
    }
}

/// The two numbers of a signature in DER, side by side.
fn halves(der: &[u8]) -> Option<Vec<u8>> {
    let [0x30, _, rest @ ..] = der else { return None };
    let (mut out, mut rest) = (Vec::new(), rest);
    for _ in 0..2 {
        let [0x02, length, tail @ ..] = rest else { return None };
        let (number, tail) = tail.split_at_checked(usize::from(*length))?;
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        out.resize(out.len() + HALF.checked_sub(number.len())?, 0);
        out.extend_from_slice(number);
        rest = tail;
    }
    Some(out)
}

/// Two numbers side by side as a signature in DER.
fn sequence(signature: &[u8]) -> Option<Vec<u8>> {
    if signature.len() != 2 * HALF {
        return None;
    }
    let mut numbers = Vec::new();
    for half in signature.chunks(HALF) {
        let zeros = half.iter().take_while(|byte| **byte == 0).count().min(HALF - 1);
        let mut number = half[zeros..].to_vec();
        if number[0] >= 0x80 {
            number.insert(0, 0);
        }
        numbers.extend([0x02, u8::try_from(number.len()).ok()?]);
        numbers.extend(number);
    }
    let mut out = vec![0x30, u8::try_from(numbers.len()).ok()?];
    out.extend(numbers);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_here_is_believed_and_nothing_else() {
        let keys = Keys::new(None);
        let (tokens, others) = (Tokens::new(&keys).unwrap(), Tokens::new(&keys).unwrap());
        for n in 0..200 {
            let claims = json!({"n": n});
            let token = tokens.sign(&claims).unwrap();
            assert_eq!(tokens.claims(&token), Some(claims));
            assert_eq!(others.claims(&token), None);
            let (message, signature) = token.rsplit_once('.').unwrap();
            let head = message.split_once('.').unwrap().0;
            let forged = format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode("{\"n\":-1}"));
            assert_eq!(tokens.claims(&forged), None);
        }
        for nonsense in ["", ".", "..", "a.b.c", "a.b.AAAA"] {
            assert_eq!(tokens.claims(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn numbers_keep_their_value_in_both_forms() {
        for (first, second) in [(0, 0), (0x7f, 0x80), (0xff, 0x01)] {
            let mut numbers = [0; 2 * HALF];
            (numbers[0], numbers[HALF - 1], numbers[HALF]) = (first, 1, second);
            numbers[2 * HALF - 1] = 1;
            assert_eq!(halves(&sequence(&numbers).unwrap()).unwrap(), numbers);
        }
    }
}
