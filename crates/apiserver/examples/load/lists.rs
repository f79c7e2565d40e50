//! Lists of many objects, in the forms that clients ask for.
use std::time::Instant;

use http::Method;
use serde_json::json;

use crate::client::{Failed, Server};
use crate::quantile;

const PODS: &str = "/api/v1/namespaces/default/pods";
const OBJECTS: usize = 10_000;
const TURNS: usize = 20;

/// Prints the rows of lists.
pub(crate) async fn measure(server: &Server) -> Result<(), Failed> {
    let mut client = server.connect().await?;
    for n in 0..OBJECTS {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("web-{n}"), "labels": {"app": "web", "tier": "front"}},
            "spec": {"containers": [{
                "name": "web", "image": "registry.example/web:1.2.3",
                "ports": [{"name": "http", "containerPort": 8080}],
                "env": [{"name": "COLOR", "value": "blue"}, {"name": "SIZE", "value": "large"}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
            }]},
        });
        client.ask(Method::POST, PODS, "application/json", pod.to_string()).await?;
    }
    println!("| {OBJECTS} pods listed, {TURNS} turns | p50 ms | p99 | MB |");
    println!("|---|---|---|---|");
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    for (title, accept, query) in [
        ("JSON", "application/json", ""),
        ("JSON, 500 a page, all pages", "application/json", "?limit=500"),
        ("Table, as `kubectl get` asks for it", table, ""),
        ("metadata alone", partial, ""),
    ] {
        let (mut latencies, mut bytes) = (Vec::new(), 0);
        for _ in 0..TURNS {
            let start = Instant::now();
            bytes = 0;
            let mut path = format!("{PODS}{query}");
            loop {
                let page = client.ask(Method::GET, &path, accept, String::new()).await?;
                bytes += page.len();
                let Some(token) = token(&page).filter(|_| !query.is_empty()) else { break };
                path = format!("{PODS}{query}&continue={token}");
            }
            latencies.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        let (half, most) = (quantile(&mut latencies, 0.5), quantile(&mut latencies, 0.99));
        println!("| {title} | {half:.1} | {most:.1} | {:.1} |", bytes as f64 / 1e6);
    }
    Ok(())
}

/// The token of the next page, which stands in the first bytes of a page.
fn token(page: &[u8]) -> Option<String> {
    const FIELD: &str = "\"continue\":\"";
    let head = String::from_utf8_lossy(&page[..page.len().min(1000)]).into_owned();
    let (_, rest) = head.split_once(FIELD)?;
    rest.split_once('"').map(|(token, _)| token.to_owned())
}
