//! An API server for one test.

use std::future::pending;
use std::net::TcpListener;
use std::sync::Arc;

use apiserver::{Options, Server};
use kube::Access;

use crate::scratch::Scratch;

/// Serves the API until the process ends.
pub(crate) fn serve(scratch: &Scratch) -> (Access, Arc<Server>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let options = Options { listeners: vec![listener], ..Options::default() };
    let server = Arc::new(Server::new(options).unwrap());
    let kubeconfig = scratch.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig(&url)).unwrap();
    let running = Arc::clone(&server);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(running.run(pending())).unwrap();
    });
    (Access::Kubeconfig(kubeconfig), server)
}
