//! The lab's embedded Kubernetes API server: objects in memory behind the API that `kubectl` and
//! client libraries speak.
//!
//! A request's way: `http` parses and authenticates it, `resource` names the kind it is about,
//! `http::write` builds the object that would be stored (patch, schema, defaults, validation) and
//! `store` commits it if nothing moved in between. Reads and watches come from `store` as the
//! serialised bytes of each object. Nothing here knows what any kind means to a network.
mod access;
mod admission;
mod condition;
mod crd;
mod credentials;
mod discovery;
mod go;
mod http;
mod json;
mod keys;
mod lifecycle;
mod nodes;
mod openapi;
mod ownership;
mod patch;
mod protobuf;
mod quantity;
mod refusal;
mod resource;
mod schema;
mod selector;
mod server;
mod store;
mod strategy;
mod table;
mod time;
mod validate;
pub mod yaml;

pub use admission::{Admission, Denial, Write};
pub use credentials::Error as CredentialError;
pub use keys::KeyError;
pub use nodes::Nodes;
pub use server::{Error, Options, Server};
pub use store::StateError;
