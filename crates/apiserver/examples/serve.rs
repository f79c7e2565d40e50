//! Serves an empty cluster until killed and prints its kubeconfig.
use seaway_apiserver::{Options, Server};

fn main() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let server = Server::new(Options { listeners: vec![listener], sans: Vec::new() }).unwrap();
    std::fs::write(std::env::args().nth(1).unwrap(), server.kubeconfig(&url)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(server.run(std::future::pending())).unwrap();
}
