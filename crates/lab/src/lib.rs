//! The lab: a cluster of real nodes on one machine. Nodes are namespaces joined by cables to an
//! underlay, pods are processes in pod namespaces, the API server is embedded.

mod architecture;
pub mod children;
pub mod control;
pub mod directory;
pub mod down;
pub mod enter;
mod events;
pub mod fault;
pub mod host;
pub mod images;
pub mod kubeconfig;
pub mod lab;
pub mod manifest;
pub mod node;
pub mod plane;
pub mod pod;
pub mod probe;
pub mod services;
pub mod spec;
mod stream;
pub mod supervisor;
pub mod topology;
pub mod underlay;
pub mod up;
pub mod wait;
