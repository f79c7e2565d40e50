//! The sockets at which Seaway itself answers. What is answered is decided by tables of `plan`; here it
//! is received, limited, asked for elsewhere where the tables don't know, counted and sent.

pub mod dns;
